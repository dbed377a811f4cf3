package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// state is what is known of an item.
type state int

const (
	unknown  state = iota // nobody has told of it
	coming                // its produce was not answered
	here                  // its produce was acknowledged
	going                 // its complete was not answered
	gone                  // its complete was acknowledged, or it was not there after a cut
	seenHere              // listed, in the list that is being read
)

// verdict sums up what was judged.
type verdict struct {
	produced, completed, open, checked, cuts int
}

func (v verdict) String() string {
	return fmt.Sprintf("%d items produced and %d completed with an answer, %d without one when the power went; "+
		"%d power cuts; %d items looked for after them, none lost, none twice, none back, none invented",
		v.produced, v.completed, v.open, v.cuts, v.checked)
}

// judgement reads what a witness has told. What an item was before a list is in before, while one is read.
type judgement struct {
	verdict
	items   map[int64]state
	before  map[int64]state
	batches [][2]int64 // of produces that were not answered
	wrong   []error
}

const maxWrong = 20

func (j *judgement) blame(format string, args ...any) {
	if len(j.wrong) < maxWrong {
		j.wrong = append(j.wrong, fmt.Errorf(format, args...))
	}
}

// judge reads all that was told, and returns an error that says what broke a promise.
func judge(told io.Reader) (verdict, error) {
	j := &judgement{items: make(map[int64]state), before: make(map[int64]state)}
	sc := bufio.NewScanner(told)
	for sc.Scan() {
		text, whole := strings.CutSuffix(sc.Text(), " .")
		words := strings.Fields(text)
		if !whole || len(words) == 0 {
			continue // Torn by a cut.
		}
		numbers := make([]int64, len(words)-1)
		for i, w := range words[1:] {
			n, err := strconv.ParseInt(w, 10, 64)
			if err != nil {
				return j.verdict, fmt.Errorf("not a line of a witness: %q", text)
			}
			numbers[i] = n
		}
		j.line(words[0], numbers)
	}
	if err := errors.Join(append(j.wrong, sc.Err())...); err != nil {
		return j.verdict, err
	}
	if j.checked == 0 || j.cuts == 0 {
		return j.verdict, errors.New("nothing was listed after a cut")
	}
	return j.verdict, nil
}

func (j *judgement) line(word string, numbers []int64) {
	switch {
	case word == "produce" && len(numbers) == 2:
		j.batches = append(j.batches, [2]int64(numbers))
		for n := numbers[0]; n <= numbers[1]; n++ {
			j.items[n] = coming
		}
	case word == "produced" && len(numbers) == 2:
		j.answered([2]int64(numbers))
	case word == "complete":
		for _, n := range numbers {
			if s := j.items[n]; s != here && s != coming {
				j.blame("item %d was leased, but is %d", n, s)
			}
			j.items[n] = going
		}
	case word == "completed":
		j.completed += len(numbers)
		for _, n := range numbers {
			j.items[n] = gone
		}
	case word == "cut":
		j.cuts++
	case word == "held" && len(numbers) == 1:
		j.held(numbers[0])
	case word == "listed" && len(numbers) == 1:
		j.listed(int(numbers[0]))
	default:
		j.blame("not a line of a witness: %s %v", word, numbers)
	}
}

// answered notes that a produce was. Its items may be leased by then, and even completed.
func (j *judgement) answered(batch [2]int64) {
	for i, b := range j.batches {
		if b == batch {
			j.batches = append(j.batches[:i], j.batches[i+1:]...)
			break
		}
	}
	for n := batch[0]; n <= batch[1]; n++ {
		j.produced++
		if j.items[n] == coming {
			j.items[n] = here
		}
	}
}

// held notes that an item is in the list.
func (j *judgement) held(n int64) {
	s := j.items[n]
	switch s {
	case seenHere:
		j.blame("item %d is there twice", n)
		return
	case gone:
		j.blame("item %d, which was completed or was not there before, is back", n)
	case unknown:
		j.blame("item %d was never produced", n)
	}
	j.before[n] = s
	j.items[n] = seenHere
}

// listed judges the list that has ended. After it, it is known of each item whether it is there.
func (j *judgement) listed(count int) {
	if count != len(j.before) {
		j.blame("%d items are listed, %d of them told", count, len(j.before))
	}
	for _, b := range j.batches {
		j.batch(b)
	}
	for n, s := range j.items {
		switch s {
		case here:
			j.blame("item %d, whose produce was acknowledged, is lost", n)
			j.items[n] = gone
		case coming, going:
			j.open++
			j.items[n] = gone
		case seenHere:
			if b := j.before[n]; b == coming || b == going {
				j.open++
			}
			j.items[n] = here
		case gone, unknown:
			continue // Known before.
		}
		j.checked++
	}
	clear(j.before)
	j.batches = nil
}

// batch judges a produce that was not answered: it is there wholly or not at all. An item that somebody leased was
// there.
func (j *judgement) batch(b [2]int64) {
	there, missing := 0, 0
	for n := b[0]; n <= b[1]; n++ {
		if j.items[n] == coming {
			missing++
		} else {
			there++
		}
	}
	if there > 0 && missing > 0 {
		j.blame("of the items %d to %d, produced in one request, %d are there and %d are not", b[0], b[1], there, missing)
	}
}
