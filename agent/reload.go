package agent

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/config"
)

// liveSetting is a setting, a table, or several of them, that a reload puts into
// effect together.
type liveSetting struct {
	// keys are the dotted keys, or those of the tables or lists that they are in.
	keys []string
	// apply takes the value over. It is called by Run's goroutine.
	apply func(ctx context.Context, c *config.Config) error
}

// liveSettings are all of them, if c is to be the configuration. The rest needs a
// restart.
func (a *Agent) liveSettings(c *config.Config) []liveSetting {
	live := []liveSetting{
		{[]string{"log-level"}, func(_ context.Context, c *config.Config) error {
			a.level.set(c.LogLevel)
			return nil
		}},
		{[]string{"shutdown"}, func(_ context.Context, c *config.Config) error {
			a.shutdown = c.Shutdown
			return nil
		}},
		{[]string{"queue"}, a.createQueues},
		{[]string{"access"}, func(context.Context, *config.Config) error { return nil }}, // See reloadNow.
	}
	if a.uplink != nil && c.Uplink.On() {
		live = append(live, liveSetting{uplinkLive(), a.reloadUplink})
	}
	return live
}

// reload reads the configuration again: it puts into effect what can change, and
// names what has to wait for a restart. A configuration with mistakes changes
// nothing.
func (a *Agent) reload(ctx context.Context, o *Options, watch *supervisor) {
	a.told(o.Systemd.Reloading("reading the configuration"))
	left := a.reloadNow(ctx, o)
	a.unreloaded.Store(&left) // A part of the status until the next time.
	a.told(watch.ready())
}

// reloadNow returns what is wrong or has to wait, "" if nothing.
func (a *Agent) reloadNow(ctx context.Context, o *Options) string {
	loaded, err := o.Reload()
	var rules *access.Rules
	if err == nil {
		rules, err = access.Compile(loaded, access.Accounts{})
	}
	if err != nil {
		a.log.Error().Err(err).Msg("the configuration was not reloaded; the agent goes on with the old one")
		return "the new configuration has mistakes, see the log; going on with the old one"
	}
	// Also if they read the same: a group may have another number by now.
	a.guard.Reload(rules)
	a.tellOfUnits(rules)
	values := settingsOf(loaded)
	names, live := changedSettings(a.settings, values), a.liveSettings(&loaded.Config)
	applied, waiting := []string{}, []string{}
	var failed []liveSetting
	for _, l := range live {
		keys := l.of(names)
		if len(keys) == 0 {
			continue
		}
		if err := l.apply(ctx, &loaded.Config); err != nil {
			a.log.Error().Strs("settings", keys).Err(err).Msg("settings were not put into effect")
			failed = append(failed, l)
			continue
		}
		applied = append(applied, keys...)
		maps.DeleteFunc(a.settings, func(name string, _ config.Setting) bool { return l.has(name) })
	}
	for _, name := range names {
		isLive := func(l liveSetting) bool { return l.has(name) }
		if slices.ContainsFunc(failed, isLive) {
			continue // Tried again by the next reload.
		}
		if !slices.ContainsFunc(live, isLive) {
			waiting = append(waiting, name)
		} else if value, ok := values[name]; ok {
			a.settings[name] = value
		}
	}
	a.files.Store(&loaded.Files)
	if a.uplink != nil {
		a.uplink.Reconnect() // Credentials and certificates are read again.
	}
	a.log.Info().Strs("files", loaded.Files).Strs("changed", applied).Msg("the configuration was reloaded")
	if len(failed) > 0 {
		return "changed settings could not be put into effect, see the log"
	}
	if len(waiting) == 0 {
		return ""
	}
	a.log.Warn().Strs("settings", waiting).Msg("these settings have changed and wait for a restart of the agent")
	return "waiting for a restart: " + strings.Join(waiting, ", ")
}

// has reports whether a setting is one of these or below one.
func (l liveSetting) has(name string) bool { return l.key(name) != "" }

// key returns which of these a setting is or is below, "" if none.
func (l liveSetting) key(name string) string {
	for _, key := range l.keys {
		if rest, ok := strings.CutPrefix(name, key); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return key
		}
	}
	return ""
}

// of returns those that settings are, or are below.
func (l liveSetting) of(names []string) []string {
	var keys []string
	for _, name := range names {
		if key := l.key(name); key != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// settingsOf returns all settings by their keys.
func settingsOf(l *config.Loaded) map[string]config.Setting {
	values := make(map[string]config.Setting)
	for _, s := range l.Settings() {
		values[s.Key] = s
	}
	return values
}

// changedSettings returns the keys of the values that differ, those that only one
// of the two has included. A default that follows from another setting counts as
// that setting.
func changedSettings(before, after map[string]config.Setting) []string {
	var names []string
	for name, s := range after {
		old, ok := before[name]
		follows := old.Origin == config.OriginDefault && s.Origin == config.OriginDefault
		if !ok || old.Value != s.Value && !follows {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// logLevel lets through what is at least of a level, which can change.
type logLevel struct{ least atomic.Int32 }

func (l *logLevel) set(text string) {
	level, err := zerolog.ParseLevel(text)
	if err != nil {
		level = zerolog.InfoLevel // The configuration was validated; this cannot be.
	}
	l.least.Store(int32(level))
}

// Sample is asked before a line is made.
func (l *logLevel) Sample(level zerolog.Level) bool { return int32(level) >= l.least.Load() }
