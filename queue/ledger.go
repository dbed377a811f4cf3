package queue

// Ledger counts what became of every item of a partition since it was created.
// At any commit Produced + Imported + MovedIn equals Completed + Dead +
// Expired + Cleared + Deleted + Dropped + Quarantined + MovedOut + what the
// partition holds (ready, leased and scheduled).
//
// Retry, lease expiry and becoming due give an item a new id in the same
// partition; they are not counted, since nothing enters or leaves.
type Ledger struct {
	Produced    uint64 // by produce
	Imported    uint64 // by import
	MovedIn     uint64 // from another partition: dead letters, redrive
	Completed   uint64
	Dead        uint64 // out of attempts or given up, and no dead queue to go to
	Expired     uint64 // past the expire deadline, and no dead queue to go to
	Cleared     uint64 // by clear
	Deleted     uint64 // by id
	Dropped     uint64 // by the queue's full policy
	Quarantined uint64 // lost with a damaged segment
	MovedOut    uint64 // to another partition: dead letters, redrive
	Leases      uint64 // leases given, for rates; not part of the sum
	Retries     uint64 // retries taken, for rates; not part of the sum
	Lapsed      uint64 // leases that ran out, for rates; not part of the sum
}

// In returns how many items entered the partition.
func (l *Ledger) In() uint64 { return l.Produced + l.Imported + l.MovedIn }

// Out returns how many items left it, by whatever way.
func (l *Ledger) Out() uint64 {
	return l.Completed + l.Dead + l.Expired + l.Cleared + l.Deleted + l.Dropped + l.Quarantined + l.MovedOut
}

// Add adds o to l, for the sum over partitions.
func (l *Ledger) Add(o *Ledger) {
	l.Produced += o.Produced
	l.Imported += o.Imported
	l.MovedIn += o.MovedIn
	l.Completed += o.Completed
	l.Dead += o.Dead
	l.Expired += o.Expired
	l.Cleared += o.Cleared
	l.Deleted += o.Deleted
	l.Dropped += o.Dropped
	l.Quarantined += o.Quarantined
	l.MovedOut += o.MovedOut
	l.Leases += o.Leases
	l.Retries += o.Retries
	l.Lapsed += o.Lapsed
}
