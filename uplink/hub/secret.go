package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrSecret says that a file with a secret cannot be used.
var ErrSecret = errors.New("secret cannot be used")

// credentialPrefix marks the name of a systemd credential.
const credentialPrefix = "credential:"

// maxSecret bounds a file with a secret.
const maxSecret = 64 << 10

// secretPath returns the file of a setting: a path, or a systemd credential, whose directory systemd guards.
func secretPath(setting string) (path string, guarded bool, err error) {
	name, ok := strings.CutPrefix(setting, credentialPrefix)
	if !ok {
		return setting, false, nil
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", false, fmt.Errorf("%w: %s: systemd gave no credentials; add LoadCredential=%s:/path to the unit", ErrSecret, setting, name)
	}
	if name == "" || name != filepath.Base(name) {
		return "", false, fmt.Errorf("%w: %s is not the name of a credential", ErrSecret, setting)
	}
	return filepath.Join(dir, name), true, nil
}

// readSecret returns the text of a secret without white space around it.
func readSecret(setting string) ([]byte, error) {
	path, guarded, err := secretPath(setting)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	defer func() { _ = f.Close() }() // Only read from.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	if !guarded {
		if err := checkMode(path, info); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > maxSecret {
		return nil, fmt.Errorf("%w: %s has %d bytes; 1 to %d are allowed", ErrSecret, path, len(text), maxSecret)
	}
	return text, nil
}

// othersMay are the permissions that a secret must not have: others read or write, the group writes.
const othersMay = 0o027

func checkMode(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrSecret, path)
	}
	if mode := info.Mode().Perm(); mode&othersMay != 0 {
		return fmt.Errorf("%w: %s has mode %04o, so others can get at it; chmod it to 0600 or 0640", ErrSecret, path, mode)
	}
	return nil
}
