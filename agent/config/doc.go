// Package config holds the settings of the agent: the list of them, their defaults and bounds, and the
// reading of the configuration files.
//
// A value comes from the first of these that gives one: a command-line flag, the environment
// (QUERATOR_SOCKET, QUERATOR_CONFIG), the files, the default. The files are one main file and then
// conf.d/*.toml beside it, in byte order of their names: a later file wins, its tables are merged key by key
// and its arrays (queue, partition-storage, access, downlink) replace the earlier ones as a whole.
//
// Nothing is ignored: an unknown key, a wrong type, a value out of bounds is an *Error with file and line,
// and all of them are reported at once. Every such error is ErrConfig.
//
// querator.toml in the top folder of the repository is the same list as a file; a test holds the two against
// each other. A new table gets a struct in config.go, its bounds in validate.go and its section in that file.
//
// Config and Loaded are plain values without locks: one goroutine loads, then all may read.
package config
