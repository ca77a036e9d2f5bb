package engine

import (
	"context"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/storage"
)

// gate is OPA's store with a gate before every commit: a bundle whose manifest may not be loaded is not activated, and
// what is active stays. OPA's hook before an activation cannot stop it; a commit that fails can.
type gate struct {
	storage.Store
	writing   atomic.Uint64 // the transaction that writes; there is one at a time
	incoming  *incoming     // the bundle that it activates; belongs to whoever writes
	activated func(incoming)
}

// incoming is a bundle on its way into the store, and why it may not get there.
type incoming struct {
	name     string
	manifest bundleManifest
	fault    error
}

func (g *gate) NewTransaction(ctx context.Context, params ...storage.TransactionParams) (storage.Transaction, error) {
	txn, err := g.Store.NewTransaction(ctx, params...)
	if err == nil && len(params) > 0 && params[0].Write {
		g.writing.Store(txn.ID())
		g.incoming = nil
	}
	return txn, err
}

func (g *gate) Commit(ctx context.Context, txn storage.Transaction) error {
	if txn.ID() != g.writing.Load() {
		return g.Store.Commit(ctx, txn)
	}
	arrived := g.incoming
	if arrived != nil && arrived.fault != nil {
		g.Store.Abort(ctx, txn)
		return arrived.fault
	}
	if arrived != nil {
		g.activated(*arrived) // before anybody decides by it
	}
	return g.Store.Commit(ctx, txn)
}
