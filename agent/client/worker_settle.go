package client

import (
	"context"
	"errors"
	"fmt"
)

// settleBatch is how many items one call completes or retries; below what an agent may be configured to take.
const settleBatch = 100

// result is a handled item on its way to the settler.
type result struct {
	held  *held
	retry *RetryItem // nil: complete it
}

// settle is the goroutine that completes and retries items, until results is closed. While a call is under way
// the next batch gathers, so batches are as large as the load makes them and nothing waits for a timer.
func (r *run) settle(ctx context.Context) {
	for first := range r.results {
		batch := []result{first}
		for more := true; more && len(batch) < settleBatch; {
			select {
			case res, ok := <-r.results:
				if more = ok; ok {
					batch = append(batch, res)
				}
			default:
				more = false
			}
		}
		for _, g := range groupResults(batch) {
			r.settleGroup(ctx, g, false)
		}
	}
}

// groupResults puts together what one call can settle: items of one partition that are all to be completed, or
// all to be retried.
func groupResults(batch []result) [][]result {
	type key struct {
		partition int
		retry     bool
	}
	var groups [][]result
	index := make(map[key]int)
	for _, res := range batch {
		k := key{res.held.item.Partition, res.retry != nil}
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], res)
	}
	return groups
}

// settleGroup settles a group, trying again until the agent has answered or the leases have ended. unsure says
// that an earlier call may have settled them although its answer did not arrive.
func (r *run) settleGroup(ctx context.Context, group []result, unsure bool) {
	backOff := agentBackOff()
	for {
		group = r.dropLost(group, unsure)
		if len(group) == 0 {
			return
		}
		err := r.settleCall(ctx, group)
		switch {
		case err == nil:
			r.finish(group, nil)
			return
		case errors.Is(err, ErrLeaseLost) && len(group) > 1:
			for i := range group {
				r.settleGroup(ctx, group[i:i+1], unsure)
			}
			return
		case errors.Is(err, ErrLeaseLost) && unsure:
			r.finish(group, nil)
			return
		case errors.Is(err, ErrLeaseLost), isFinal(err):
			r.finish(group, err)
			return
		case ctx.Err() != nil:
			r.finish(group, fmt.Errorf("not settled, the lease will end by itself: %w", err))
			return
		}
		unsure = unsure || mayHaveWorked(err)
		r.report(nil, err)
		sleep(ctx, backOff.next())
	}
}

// settleCall makes the call for a group.
func (r *run) settleCall(ctx context.Context, group []result) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	partition := group[0].held.item.Partition
	if group[0].retry == nil {
		ids := make([]string, len(group))
		for i, res := range group {
			ids[i] = res.held.item.ID
		}
		return r.Client.Complete(call, r.Queue, partition, ids...)
	}
	items := make([]RetryItem, len(group))
	for i, res := range group {
		items[i] = *res.retry
	}
	return r.Client.Retry(call, r.Queue, partition, items...)
}

// dropLost finishes the items whose lease is known to be lost and returns the others.
func (r *run) dropLost(group []result, unsure bool) []result {
	var rest []result
	for _, res := range group {
		switch {
		case !r.isLost(res.held):
			rest = append(rest, res)
		case unsure:
			r.finish([]result{res}, nil)
		default:
			r.finish([]result{res}, &Error{kind: ErrLeaseLost,
				Message: fmt.Sprintf("the lease of item %s ended before it was settled", res.held.item.ID)})
		}
	}
	return rest
}

// finish forgets the items and reports err, if not nil, for each.
func (r *run) finish(group []result, err error) {
	for _, res := range group {
		if err != nil {
			r.report(&res.held.item, err)
		}
		r.forget(res.held)
	}
}

// mayHaveWorked reports whether the agent may have done what was asked although the call failed.
func mayHaveWorked(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.sent || e.Code == 454 || e.Code == 500
	}
	return true // The context's error: the answer came too late.
}
