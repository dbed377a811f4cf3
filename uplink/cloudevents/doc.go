// Package cloudevents holds the events of the uplink against the SDK of CloudEvents. It is a module of its own, so
// that nothing of the SDK gets into the program.
package cloudevents
