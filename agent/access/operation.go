package access

import "github.com/kapetan-io/querator-edge/agent/config"

// Operation is what a call does. Each call of the API is exactly one of them.
type Operation uint8

// The operations. The zero value is a call that nobody has classified, which no rule can grant.
const (
	None    Operation = iota
	Open              // everybody who can connect may do it
	Produce           // puts items in
	Consume           // leases, completes, retries, extends
	Read              // looks at queues and items
	Admin             // the rest
	operations
)

// String returns the name that rules use.
func (o Operation) String() string {
	switch o {
	case Open:
		return "open"
	case Produce:
		return config.OperationProduce
	case Consume:
		return config.OperationConsume
	case Read:
		return config.OperationRead
	case Admin:
		return config.OperationAdmin
	}
	return "none"
}

// ParseOperation returns the operation that rules call by this name.
func ParseOperation(name string) (Operation, bool) {
	for o := Produce; o < operations; o++ {
		if o.String() == name {
			return o, true
		}
	}
	return None, false
}
