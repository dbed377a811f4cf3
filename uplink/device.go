package uplink

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/kapetan-io/querator-edge/uplink/event"
)

// DeviceName returns the name that a pattern stands for: {machine-id} is a number made from /etc/machine-id, which
// itself is not to be shown around, {hostname} the name of the host. The error is ErrConfig.
func DeviceName(pattern string) (string, error) {
	name := pattern
	if strings.Contains(name, "{machine-id}") {
		id, err := os.ReadFile("/etc/machine-id")
		id = []byte(strings.TrimSpace(string(id)))
		if err != nil || len(id) == 0 {
			return "", fmt.Errorf("%w: /etc/machine-id cannot be read; set device to a name", ErrConfig)
		}
		mac := hmac.New(sha256.New, id)
		mac.Write([]byte("querator uplink device"))
		name = strings.ReplaceAll(name, "{machine-id}", hex.EncodeToString(mac.Sum(nil)[:12]))
	}
	if strings.Contains(name, "{hostname}") {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("%w: the host has no name: %w", ErrConfig, err)
		}
		short, _, _ := strings.Cut(host, ".")
		name = strings.ReplaceAll(name, "{hostname}", short)
	}
	if err := event.CheckDevice(name); err != nil {
		return "", fmt.Errorf("%w: device %q: %w", ErrConfig, name, err)
	}
	return name, nil
}
