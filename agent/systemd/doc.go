// Package systemd is what the agent and the service manager say to each other,
// as sd_notify(3), sd_listen_fds(3), systemd.exec(5) and sd-daemon(3) describe
// it: sockets that come from the manager, notes that go to it, and lines of the
// log with a priority that the journal understands. It keeps no state; outside
// systemd everything in it does nothing.
package systemd
