package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The agent is measured with the timer slack that its unit gives it.
func TestSlackIsThatOfTheUnit(t *testing.T) {
	unit, err := os.ReadFile("../../packaging/systemd/querator.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\nTimerSlackNSec=%dus\n", unitSlack/time.Microsecond); !strings.Contains(string(unit), want) {
		t.Errorf("the unit has no line %q", strings.TrimSpace(want))
	}
}
