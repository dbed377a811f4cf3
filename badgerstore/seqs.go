package badgerstore

import (
	"encoding/binary"
	"slices"
)

// A list of sequence numbers stands in records and checkpoints as
//
//	uvarint  count of what follows, times four, plus the form
//
// and then, by the form,
//
//	0  that many runs, for numbers that rise: the distance of the first from the
//	   last number before (from 0 in the first run) as a uvarint, the length of
//	   the run as a uvarint, and unless that is 1 the stride as a uvarint
//	1  that many numbers, for numbers that rise: each the distance from the one
//	   before as a uvarint
//	2  that many numbers in any order: each the difference from the one before
//	   as a varint
//
// The shorter of 0 and 1 is taken. For example, 100 numbers from 1000 on, each 8
// above the one before, are
//
//	04           one run
//	e8 07 64 08  from 1000 on, 100 of them, stride 8
//
// and 3, 4, 90 are 0d 03 01 56: three distances.
const (
	seqsRuns   = 0
	seqsDeltas = 1
	seqsAny    = 2
)

// seqRuns is how many sequence numbers runs may stand for in one value, so that
// a damaged length cannot ask for the moon; further lists are stored as
// distances.
const (
	recordSeqRuns     = 1 << 16
	checkpointSeqRuns = 1 << 20
)

// isRising reports whether each number is greater than the one before.
func isRising(seqs []uint64) bool {
	for i := 1; i < len(seqs); i++ {
		if seqs[i] <= seqs[i-1] {
			return false
		}
	}
	return true
}

// sortedSeqs returns the numbers rising and without doubles: seqs itself when
// it is that already, otherwise a copy.
func sortedSeqs(seqs []uint64) []uint64 {
	if isRising(seqs) {
		return seqs
	}
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	return slices.Compact(seqs)
}

// seqRun is the run that a rising list begins with: how many numbers, and how
// far apart (0 for a single one).
func seqRun(seqs []uint64) (n int, stride uint64) {
	if len(seqs) < 2 {
		return len(seqs), 0
	}
	stride = seqs[1] - seqs[0]
	n = 2
	for n < len(seqs) && seqs[n]-seqs[n-1] == stride {
		n++
	}
	// Two numbers are no run worth a stride if the second begins a longer one.
	if n == 2 && len(seqs) > 3 && seqs[2]-seqs[1] == seqs[3]-seqs[2] {
		return 1, 0
	}
	return n, stride
}

// appendSeqs appends a list; what runs may still stand for is taken from
// allowance.
func appendSeqs(dst []byte, seqs []uint64, allowance *int) []byte {
	if !isRising(seqs) {
		dst = binary.AppendUvarint(dst, uint64(len(seqs))<<2|seqsAny)
		last := uint64(0)
		for _, seq := range seqs {
			dst = binary.AppendVarint(dst, int64(seq-last))
			last = seq
		}
		return dst
	}
	if runs, ok := countRuns(seqs); ok && len(seqs) <= *allowance {
		*allowance -= len(seqs)
		return appendRuns(dst, seqs, runs)
	}
	dst = binary.AppendUvarint(dst, uint64(len(seqs))<<2|seqsDeltas)
	last := uint64(0)
	for _, seq := range seqs {
		dst = binary.AppendUvarint(dst, seq-last)
		last = seq
	}
	return dst
}

// countRuns returns the number of runs, and whether runs are shorter than
// distances.
func countRuns(seqs []uint64) (runs int, shorter bool) {
	asRuns, asDeltas := 0, 0
	for last := uint64(0); len(seqs) > 0; runs++ {
		n, stride := seqRun(seqs)
		gap := varintLen(seqs[0] - last)
		asRuns += gap + varintLen(uint64(n))
		asDeltas += gap
		if n > 1 {
			asRuns += varintLen(stride)
			asDeltas += (n - 1) * varintLen(stride)
		}
		last = seqs[n-1]
		seqs = seqs[n:]
	}
	return runs, asRuns < asDeltas
}

func appendRuns(dst []byte, seqs []uint64, runs int) []byte {
	dst = binary.AppendUvarint(dst, uint64(runs)<<2|seqsRuns)
	for last := uint64(0); len(seqs) > 0; {
		n, stride := seqRun(seqs)
		dst = binary.AppendUvarint(dst, seqs[0]-last)
		dst = binary.AppendUvarint(dst, uint64(n))
		if n > 1 {
			dst = binary.AppendUvarint(dst, stride)
		}
		last = seqs[n-1]
		seqs = seqs[n:]
	}
	return dst
}

// seqs reads a list; nil if it is empty.
func (r *reader) seqs(allowance *int) []uint64 {
	head := r.uvarint()
	n, form := head>>2, head&3
	// A run takes two bytes at least, but one is as good a bound.
	if n > uint64(r.left()) {
		r.fail()
	}
	if n == 0 || r.bad {
		return nil
	}
	switch form {
	case seqsRuns:
		return r.seqRuns(n, allowance)
	case seqsDeltas:
		seqs := make([]uint64, n)
		for i, last := 0, uint64(0); i < len(seqs); i++ {
			seqs[i] = last + r.uvarint()
			last = seqs[i]
		}
		if !isRising(seqs) {
			r.fail()
		}
		return seqs
	case seqsAny:
		seqs := make([]uint64, n)
		for i, last := 0, uint64(0); i < len(seqs); i++ {
			seqs[i] = last + uint64(r.varint())
			last = seqs[i]
		}
		return seqs
	}
	r.fail()
	return nil
}

func (r *reader) seqRuns(runs uint64, allowance *int) []uint64 {
	var seqs []uint64
	for last := uint64(0); runs > 0; runs-- {
		last += r.uvarint()
		n, stride := r.uvarint(), uint64(0)
		if n > 1 {
			stride = r.uvarint()
		}
		if n == 0 || n > uint64(*allowance) {
			r.fail()
			return nil
		}
		*allowance -= int(n)
		seqs = slices.Grow(seqs, int(n))
		seqs = append(seqs, last)
		for range n - 1 {
			last += stride
			seqs = append(seqs, last)
		}
	}
	if !isRising(seqs) {
		r.fail()
	}
	return seqs
}
