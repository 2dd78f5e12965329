package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"
)

const (
	accountFree  = 5 // failures, before an account has to wait
	firstBlock   = time.Second
	longestBlock = 15 * time.Minute
	quietTime    = time.Hour // after which an account's failures are forgotten

	addressFree   = 30 // failures in addressWindow
	addressWindow = time.Minute

	forgetEvery = 10 * time.Minute
)

// Failures are the failed log-ins of one account or from one address; zero for none.
type Failures struct {
	Count       int
	First, Last time.Time
}

// Attempts is where failed log-ins are counted, for all replicas. A kind is "account" or "address", a subject at most 64 ASCII characters.
type Attempts interface {
	LoginFailures(ctx context.Context, kind, subject string) (Failures, error)
	// ChangeLoginFailures puts what change returns in the place of what it is given, with no other change in between; an
	// error of change leaves all as it is and is returned. It may call change more than once.
	ChangeLoginFailures(ctx context.Context, kind, subject string, change func(Failures) (Failures, error)) error
	// ForgetLoginFailures drops those whose last failure was before a time.
	ForgetLoginFailures(ctx context.Context, before time.Time) error
}

// ThrottledError says that an account or an address has had too many failed log-ins.
type ThrottledError struct {
	RetryAfter time.Duration // whole seconds, at least one
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many failed log-ins: try again in %s", e.RetryAfter)
}

func throttled(wait time.Duration) error {
	return &ThrottledError{RetryAfter: (wait + time.Second - 1).Truncate(time.Second)}
}

// Limiter slows down who guesses passwords. An account has 5 failures free; from then on each failure blocks it, the first
// for a second, every further one for twice as long, up to 15 minutes. An address has 30 failures a minute. A log-in resets
// the account's count, and so does a quiet hour. Accounts that do not exist are limited alike, so that nobody learns which do.
//
// Whoever knows a user's name can thus keep the user from logging in with the password, but not lock out a job: API tokens
// and JWTs are verified without Allow, and only Failed counts wrong ones, for the address and no account.
type Limiter struct {
	store Attempts
	now   func() time.Time

	mu       sync.Mutex
	forgotAt time.Time // when this process last dropped what no longer counts
}

// NewLimiter makes a limiter with a clock.
func NewLimiter(store Attempts, now func() time.Time) *Limiter {
	return &Limiter{store: store, now: now}
}

// Allow is called before a password is verified. It counts the log-in as failed until Succeeded takes that back: otherwise
// all guesses that are made at one time would come through. A *ThrottledError refuses the log-in, which then does not count.
func (l *Limiter) Allow(ctx context.Context, account, address string) error {
	from, to := addressSubject(address), accountSubject(account)
	if err := l.check(ctx, to); err != nil {
		return err
	}
	if err := l.check(ctx, from); err != nil {
		return err
	}
	if err := l.note(ctx, from); err != nil {
		return err
	}
	if err := l.note(ctx, to); err != nil {
		return errors.Join(err, l.takeBack(ctx, from))
	}
	return nil
}

// Succeeded is called when the password that Allow was asked for is right.
func (l *Limiter) Succeeded(ctx context.Context, account, address string) error {
	to := accountSubject(account)
	err := l.store.ChangeLoginFailures(ctx, to.kind, to.name, func(Failures) (Failures, error) { return Failures{}, nil })
	if err != nil {
		return fmt.Errorf("reset failed log-ins: %w", err)
	}
	return l.takeBack(ctx, addressSubject(address))
}

// Failed counts a token that is nobody's or a JWT with a wrong signature; a *ThrottledError says that the address has had too
// many. It is not for credentials that have expired or were revoked: their holders guess nothing, and come back all day.
func (l *Limiter) Failed(ctx context.Context, address string) error {
	from := addressSubject(address)
	if err := l.check(ctx, from); err != nil {
		return err
	}
	return l.note(ctx, from)
}

// check turns the blocked away before anything is written.
func (l *Limiter) check(ctx context.Context, s subject) error {
	f, err := l.store.LoginFailures(ctx, s.kind, s.name)
	if err != nil {
		return fmt.Errorf("look up failed log-ins: %w", err)
	}
	_, err = s.next(f, l.now())
	return err
}

func (l *Limiter) note(ctx context.Context, s subject) error {
	now := l.now()
	err := l.store.ChangeLoginFailures(ctx, s.kind, s.name, func(f Failures) (Failures, error) { return s.next(f, now) })
	if err != nil {
		return err
	}
	l.mu.Lock()
	due := now.Sub(l.forgotAt) >= forgetEvery
	if due {
		l.forgotAt = now
	}
	l.mu.Unlock()
	if !due {
		return nil
	}
	if err := l.store.ForgetLoginFailures(ctx, now.Add(-quietTime)); err != nil {
		return fmt.Errorf("forget failed log-ins: %w", err)
	}
	return nil
}

// takeBack uncounts one failure of an address.
func (l *Limiter) takeBack(ctx context.Context, s subject) error {
	err := l.store.ChangeLoginFailures(ctx, s.kind, s.name, func(f Failures) (Failures, error) {
		f.Count = max(f.Count-1, 0)
		return f, nil
	})
	if err != nil {
		return fmt.Errorf("take back a failed log-in: %w", err)
	}
	return nil
}

// subject is an account or an address.
type subject struct{ kind, name string }

// accountSubject is a name's SHA-256: names come from strangers, are of any length and bytes, and are sometimes a password
// typed into the wrong field.
func accountSubject(name string) subject { return subject{"account", digest(norm.NFC.String(name))} }

// addressSubject is an IP address, of which IPv6 counts by the /64 that a single customer has. A port is left out.
func addressSubject(address string) subject {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		port, portErr := netip.ParseAddrPort(address)
		if portErr != nil {
			return subject{"address", digest(address)}
		}
		addr = port.Addr()
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return subject{"address", addr.String()}
	}
	prefix, _ := addr.Prefix(64) // only IPv4 has none
	return subject{"address", prefix.String()}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// next is the count after one more failure, a *ThrottledError while the subject is blocked.
func (s subject) next(f Failures, now time.Time) (Failures, error) {
	begin, forgotten, free, block := f.Last, quietTime, accountFree, blockAfter(f.Count)
	if s.kind == "address" {
		begin, forgotten, free, block = f.First, addressWindow, addressFree, addressWindow
	}
	past := now.Sub(begin)
	switch {
	case f.Count == 0 || past.Abs() >= forgotten: // a failure in the far future is another clock's mistake
		return Failures{Count: 1, First: now, Last: now}, nil
	case f.Count >= free && past < block:
		return f, throttled(min(block-past, block))
	}
	return Failures{Count: f.Count + 1, First: f.First, Last: now}, nil
}

// blockAfter is how long an account has to wait after its last failure.
func blockAfter(failures int) time.Duration {
	block := firstBlock
	for range failures - accountFree {
		if block = 2 * block; block >= longestBlock {
			return longestBlock
		}
	}
	return block
}
