package agent

import "testing"

// TestMemorySharesAddUp: all that is promised fits into the limit, and what is
// counted in pieces fits into its share.
func TestMemorySharesAddUp(t *testing.T) {
	for _, limit := range []int64{32 << 20, 48 << 20, 64 << 20, 1 << 30, 1 << 40} {
		m := sharesOf(limit)
		sum := m.stores + m.inFlight + m.connections + m.ahead + m.deliver + m.state + m.buffers + m.commits
		if sum > limit || sum < limit-64 {
			t.Errorf("of %d bytes %d are given out", limit, sum)
		}
		if n := int64(m.maxConnections) * connMemory; n > m.connections {
			t.Errorf("%d connections take %d bytes of %d", m.maxConnections, n, m.connections)
		}
		if n := int64(m.wide) * wideBuffer; n > m.buffers {
			t.Errorf("%d large buffers take %d bytes of %d", m.wide, n, m.buffers)
		}
		if 2*m.group > m.commits || m.heap > limit {
			t.Errorf("%+v", m)
		}
	}
	if m := sharesOf(32 << 20); m.maxConnections < 500 {
		t.Errorf("at 32 MiB there are %d connections", m.maxConnections)
	}
	// As querator.toml says.
	for mib, open := range map[int64]int{32: 22, 64: 45} {
		if m := sharesOf(mib << 20); m.open != open || m.openOf(0) != open || m.openOf(3) != 3 || m.openOf(1000) != open {
			t.Errorf("at %d MiB %d partitions are open, %d are said", mib, m.open, open)
		}
	}
}
