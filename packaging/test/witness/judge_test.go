package main

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestJudge checks that what breaks a promise is found, and that what a cut may do is none of it.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name, told string
		want       string // part of the error, "" for none
	}{
		{"all is well", "produce 1 3;produced 1 3;complete 2;completed 2;cut;held 1;held 3;listed 2", ""},
		{"a produce without an answer that is there", "produce 1 2;cut;held 1;held 2;listed 2", ""},
		{"a produce without an answer that is not", "produce 1 2;produced 1 2;produce 3 4;cut;held 1;held 2;listed 2", ""},
		{"a complete without an answer", "produce 1 2;produced 1 2;complete 1 2;cut;held 1;listed 1", ""},
		{"a lease before the produce is answered", "produce 1 2;complete 1;completed 1;cut;held 2;listed 1", ""},
		{"a torn line", "produce 1 2;produced 1 2;produce 3 30;cut;held 1;held 2;listed 2", ""},
		{"lost", "produce 1 3;produced 1 3;cut;held 1;held 3;listed 2", "item 2, whose produce was acknowledged, is lost"},
		{"back", "produce 1 1;produced 1 1;complete 1;completed 1;cut;held 1;listed 1", "is back"},
		{"twice", "produce 1 1;produced 1 1;cut;held 1;held 1;listed 2", "twice"},
		{"invented", "produce 1 1;produced 1 1;cut;held 1;held 9;listed 2", "never produced"},
		{"half a batch", "produce 1 2;cut;held 2;listed 1", "in one request"},
		{"half a batch, the other half completed", "produce 1 3;complete 1;cut;held 2;listed 1", "in one request"},
		{"back after a second cut", "produce 1 2;cut;listed 0;cut;held 1;held 2;listed 2", "is back"},
		{"lost at a second cut", "produce 1 1;cut;held 1;listed 1;cut;listed 0", "is lost"},
		{"a list that is cut off", "produce 1 2;produced 1 2;cut;held 1;held 2;listed 3", "3 items are listed, 2 of them told"},
		{"no list", "produce 1 2;produced 1 2;cut", "nothing was listed"},
		{"something else", "produce 1 2;produced 1 2;kernel panic", "not a line"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := strings.ReplaceAll(tt.told, ";", " .\n") + " .\n"
			if tt.name == "a torn line" {
				told = strings.Replace(told, "produce 3 30 .\n", "produce 3 3\n", 1)
			}
			_, err := judge(strings.NewReader(told))
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestPayload(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for want := range int64(200) {
		p := payload(want, r)
		if n, err := number(p); n != want || err != nil {
			t.Fatalf("item %d has a payload of item %d, %v", want, n, err)
		}
		p[r.IntN(len(p))] ^= 1
		if n, err := number(p); err == nil {
			t.Fatalf("a damaged payload of item %d is one of item %d", want, n)
		}
	}
	if _, err := number(bytes.Repeat([]byte("x"), 20)); err == nil {
		t.Error("any text is a payload")
	}
}
