package badgerstore

// view is what the entries of a segment are read through: the database that Badger
// has open (database), or the logs of one that is written (tail), by its owner only.
type view interface {
	// get calls fn with the value of key, which is valid during the call only, and
	// reports whether there is one. What is lost is damage.
	get(key []byte, fn func(value []byte) error) (found bool, err error)
	// each calls fn with every key of that letter from a number on, in order, and a
	// function that reads its value, until fn returns false or an error.
	each(letter byte, from uint64, fn eachFunc) error
	// blockBefore returns the first sequence number of the last block that begins
	// at or before seq.
	blockBefore(seq uint64) (first uint64, found bool)
	// blockAfter returns the first sequence number of the first block that begins
	// behind seq.
	blockAfter(seq uint64) (first uint64, found bool)
	// where returns the directory, for errors.
	where() string
}

// eachFunc is called with a number and a function that reads what belongs to it.
type eachFunc func(n uint64, read func(func([]byte) error) error) (more bool, err error)
