package main

import "context"

func (o *options) grow(ctx context.Context, base, sockets string, m machine) error { return nil }
