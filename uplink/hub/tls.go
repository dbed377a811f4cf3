package hub

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

// config reads the files, at each connect again, so that a new certificate needs no restart.
func (o *TLSOptions) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName, Time: o.now}
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSecret, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: %s has no certificate in PEM form", ErrSecret, o.CAFile)
		}
	}
	if o.CertFile == "" {
		return c, nil
	}
	certPath, _, err := secretPath(o.CertFile)
	if err != nil {
		return nil, err
	}
	cert, err := os.ReadFile(certPath)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	key, err := readSecret(o.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s and %s: %w", ErrSecret, o.CertFile, o.KeyFile, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// now is the time by which certificates are judged.
func (o *TLSOptions) now() time.Time {
	now := time.Now()
	if o.ClockFloor == nil {
		return now
	}
	if floor := o.ClockFloor(); now.Before(floor) {
		return floor
	}
	return now
}

// used reports whether any setting asks for TLS; a URL may ask for it too.
func (o *TLSOptions) used() bool {
	return o.CAFile != "" || o.CertFile != "" || o.ServerName != "" || o.HandshakeFirst
}
