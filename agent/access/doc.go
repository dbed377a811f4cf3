// Package access decides who may do what with which queues, and how much of the agent one user may take.
//
// # Who is calling
//
// A caller is the process that made the connection, with the effective user, the group and the supplementary
// groups that it had at that moment: what the kernel noted when it connected (SO_PEERCRED, SO_PEERGROUPS). It
// stays so while the connection lives. A process that gives up rights afterwards keeps those of its connection,
// and a connection that is handed to another process brings the rights of the one that made it. The path by which
// the socket was found, symbolic links included, counts for nothing.
//
// A user that has no number in the agent's user namespace is shown by the kernel as the overflow user (65534, as
// a rule). That is nobody in particular: rules cannot name it, those that grant something to a user or a group do
// not fit it, and those that refuse something do. Root of a user namespace that is not the agent's is shown as the
// user it really is.
//
// # Units
//
// The unit of a caller is learnt from the control groups, and not from /proc, where the agent does not see the
// processes of others when its own unit has ProtectProc=invisible (as it should have): the lists of processes in
// the directories of the units that rules name (/sys/fs/cgroup/**/NAME/**/cgroup.procs, which everybody may read)
// are searched for the number of the process. So it costs no exposure: the agent needs no capability, no /proc and
// no bus. What it costs is time, some tenths of a millisecond for a connection, and only where a rule names a unit.
//
// A number may be used again. So the process is held by a file descriptor of it (SO_PEERPIDFD, Linux 6.5) and must
// still be there when it was found by its number; then the number was its own all the time. On an older kernel, and
// without version 2 of control groups, the unit of nobody is known.
//
// A unit is one of the system's service manager: the first directory below the slices. What a user names its own
// units is below user@UID.service, and is that unit.
//
// # Rules
//
// Rules are compiled from the configuration, [[access]], and read in order: the first that fits caller, operation
// and queue decides. What none fits is refused. Without rules everybody who could connect may do everything: then
// the mode and the group of the socket decide, which the kernel checked. Root and the agent's own user may always
// do everything, so that nobody can lock himself out. Where it is not known whether a caller is of a unit, or of
// a group, rules that refuse fit and rules that grant do not.
//
// Names of queues are compared byte by byte; nothing is unescaped, folded or normalised, neither here nor in the
// engine. An asterisk in a pattern stands for any bytes, also none.
//
// # Shares
//
// Connections, waiting leases, bytes in flight, and processes whose end is watched are bounded for the whole
// agent. Of each, a user may take more as long as it has no more than seven times what nobody has. So one user alone gets seven
// eighths, two who want all get 7/15 each, and something is left for whoever comes next. It is not for
// root to be exempt: the memory is the same.
package access
