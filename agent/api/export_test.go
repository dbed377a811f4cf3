package api

import "github.com/kapetan-io/querator-edge/agent/access"

// OperationsOfPaths returns what the handler takes each path for.
func OperationsOfPaths() map[string]access.Operation {
	ops := map[string]access.Operation{}
	for path, rt := range routes(&Options{}) {
		ops[path] = rt.op
	}
	for path, p := range pages() {
		ops[path] = p.op
	}
	return ops
}

// RequestNames returns the names of the messages that the calls take.
func RequestNames() map[string]string {
	names := map[string]string{}
	for path, rt := range routes(&Options{}) {
		if rt.request != nil {
			names[path] = string(rt.request.ProtoReflect().Descriptor().FullName())
		}
	}
	return names
}
