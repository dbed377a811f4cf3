package flashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Keep says how much of what was not synced a cut keeps.
type Keep string

// The kinds of cut.
const (
	KeepNone Keep = "none"
	KeepSome Keep = "some"
	KeepAll  Keep = "all"
	// KeepTorn is KeepSome with pages that are kept in part.
	KeepTorn Keep = "torn"
)

// Cut is one power cut.
type Cut struct {
	Seed  uint64 // decides what is kept
	Pages Keep   // of the files' content
	Names Keep   // of the changes of directories and extents; KeepTorn is as KeepSome
}

// Outcome says what there was to lose in a cut, and what was lost.
type Outcome struct {
	Pages, KeptPages, TornPages int
	Sizes                       int // files whose size was not on flash
	Names, KeptNames            int // changes of directories and extents
}

// cutter makes the tree that a cut leaves.
type cutter struct {
	Cut
	r    *rand.Rand
	new  *tree
	done map[*node]*node
	out  Outcome
}

// cut returns what the cut leaves of t, which is of no use afterwards.
func (t *tree) cut(c Cut) (*tree, Outcome) {
	k := &cutter{Cut: c, r: rand.New(rand.NewPCG(c.Seed, 7)), new: newTree(t.model), done: make(map[*node]*node)}
	k.out.Names = len(t.ops)
	k.keepPrefix(t)
	k.copyDir(k.new.root, t.root)
	return k.new, k.out
}

// keepPrefix keeps the changes up to any point.
func (k *cutter) keepPrefix(t *tree) {
	n := 0
	switch k.Names {
	case KeepAll:
		n = len(t.ops)
	case KeepSome, KeepTorn:
		n = k.r.IntN(len(t.ops) + 1)
	}
	for _, o := range t.ops[:n] {
		o.land()
	}
	k.out.KeptNames = n
}

// share returns the probability with which something is kept.
func (k *cutter) share(keep Keep) float64 {
	switch keep {
	case KeepAll:
		return 1
	case KeepSome, KeepTorn:
		return k.r.Float64()
	}
	return 0
}

func (k *cutter) copyDir(to, from *node) {
	copyFacts(to, from)
	k.done[from] = to
	for _, name := range names(from.flash) {
		old := from.flash[name]
		n := k.done[old]
		if n == nil {
			n = k.new.newNode(old.isDir, old.mode)
			n.links = 0
			n.parent, n.name = to, name
			if old.isDir {
				k.copyDir(n, old)
			} else {
				k.copyFile(n, old)
			}
		}
		n.links++
		to.entries[name], to.flash[name] = n, n
	}
}

func copyFacts(to, from *node) {
	to.mode, to.uid, to.gid, to.mtime = from.mode, from.uid, from.gid, from.mtime
}

// copyFile makes the file that the device holds.
func (k *cutter) copyFile(to, from *node) {
	copyFacts(to, from)
	k.done[from] = to
	sizes := from.sizes.choices()
	if len(from.sizes) > 1 {
		k.out.Sizes++
	}
	var size int64
	switch k.Pages {
	case KeepAll:
		size = sizes.last()
	case KeepSome, KeepTorn:
		size = sizes[k.r.IntN(len(sizes))].is
	default:
		size = sizes[0].is
	}
	to.sizes, to.reserved = history[int64]{{is: size}}, from.reserved
	share := k.share(k.Pages)
	for _, no := range slices.Sorted(maps.Keys(from.pages)) {
		v := k.pick(from.pages[no], share)
		if left := size - no*pageSize; v == nil || left <= 0 {
			continue
		} else if left < pageSize {
			v = slices.Clone(v)
			clear(v[left:])
		}
		to.pages[no] = &page{history: history[[]byte]{{is: v}}}
	}
}

// pick returns the version of a page that the device holds.
func (k *cutter) pick(p *page, share float64) []byte {
	if len(p.history) == 1 {
		return p.last()
	}
	k.out.Pages++
	choices := p.choices()
	switch {
	case len(choices) == 1:
		return choices[0].is
	case k.Pages == KeepAll:
		k.out.KeptPages++
		return choices.last()
	case k.r.Float64() >= share:
		return choices[0].is
	}
	k.out.KeptPages++
	if k.Pages == KeepTorn && k.r.IntN(3) == 0 {
		k.out.TornPages++
		return k.tear(choices)
	}
	return choices[1+k.r.IntN(len(choices)-1)].is
}

// tear takes each sector of any version.
func (k *cutter) tear(choices history[[]byte]) []byte {
	v := make([]byte, pageSize)
	for at := 0; at < pageSize; at += sectorSize {
		if from := choices[k.r.IntN(len(choices))].is; from != nil {
			copy(v[at:at+sectorSize], from[at:])
		}
	}
	return v
}

// Unsynced counts what is not on flash.
type Unsynced struct {
	Pages, Sizes, Names int
}

func (t *tree) unsynced() Unsynced {
	u := Unsynced{Names: len(t.ops)}
	for _, n := range t.nodes {
		u.Pages += len(n.unsynced)
		if len(n.sizes) > 1 {
			u.Sizes++
		}
	}
	return u
}

// image is a tree as files: for looking into what a cut has left.
type image struct {
	path  string
	isDir bool
	mode  uint32
	size  int64
	mtime time.Time
	pages map[int64][]byte
}

// image returns all that there is, directories before what is in them. The pages
// are shared: no version of a page is ever changed.
func (t *tree) image() []image {
	var all []image
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		i := image{path: path, isDir: n.isDir, mode: n.mode, size: n.size(), mtime: n.mtime}
		if !n.isDir {
			i.pages = make(map[int64][]byte, len(n.pages))
			for no, p := range n.pages {
				i.pages[no] = p.last()
			}
		}
		all = append(all, i)
		for _, name := range names(n.entries) {
			walk(n.entries[name], path+"/"+name)
		}
	}
	walk(t.root, "")
	return all
}
