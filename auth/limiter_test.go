package auth_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/auth"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// clock is moved by hand; all goroutines may read it.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// limits is a limiter over a database of its own.
type limits struct {
	*auth.Limiter
	*clock
	t     *testing.T
	store *models.Store
	db    *sql.DB
}

func onBoth(t *testing.T, test func(t *testing.T, l *limits)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		store, err := models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		c := &clock{}
		c.ms.Store(1_700_000_000_123)
		db, _ := modelstest.Open(t, uri)
		test(t, &limits{auth.NewLimiter(store, c.now), c, t, store, db})
	})
}

// guess is a log-in with a wrong password.
func (l *limits) guess(account, address string, wantWait time.Duration) {
	l.t.Helper()
	l.want(l.Allow(l.t.Context(), account, address), wantWait)
}

// logIn is one with the right password.
func (l *limits) logIn(account, address string) {
	l.t.Helper()
	l.want(l.Allow(l.t.Context(), account, address), 0)
	if err := l.Succeeded(l.t.Context(), account, address); err != nil {
		l.t.Fatal(err)
	}
}

func (l *limits) want(err error, wait time.Duration) {
	l.t.Helper()
	var throttled *auth.ThrottledError
	switch {
	case wait == 0 && err != nil:
		l.t.Errorf("got %v, want no error", err)
	case wait > 0 && (!errors.As(err, &throttled) || throttled.RetryAfter != wait):
		l.t.Errorf("got %v, want to wait %s", err, wait)
	}
}

func (l *limits) rows() (n int) {
	l.t.Helper()
	if err := l.db.QueryRow("SELECT count(*) FROM greenroom_login_failures").Scan(&n); err != nil {
		l.t.Fatal(err)
	}
	return n
}

func TestLimiter_BlocksAnAccountTwiceAsLongWithEachFailure(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for range 5 {
			l.guess("bob", "10.0.0.1", 0)
		}
		for _, block := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900} {
			l.guess("bob", "10.0.0.1", block*time.Second)
			l.guess("bob", "10.0.0.2", block*time.Second)
			l.logIn("alice", "10.0.0.1")
			l.advance(block*time.Second - time.Millisecond)
			l.guess("bob", "10.0.0.1", time.Second)
			l.advance(time.Millisecond)
			l.guess("bob", "10.0.0.1", 0)
		}
		l.advance(time.Hour)
		for range 5 {
			l.guess("bob", "10.0.0.1", 0)
		}
		l.guess("bob", "10.0.0.1", time.Second)
	})
}

func TestLimiter_ALogInResetsItsAccount(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for range 3 {
			for range 4 {
				l.guess("bob", "10.0.0.1", 0)
			}
			l.logIn("bob", "10.0.0.1")
		}
		for range 5 {
			l.guess("bob", "10.0.0.1", 0)
		}
		l.logIn("alice", "10.0.0.1")
		l.guess("bob", "10.0.0.1", time.Second)
	})
}

func TestLimiter_CountsAnAddressByTheMinute(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for i := range 30 {
			l.logIn("alice", "10.0.0.1") // takes back nothing but itself
			l.guess(fmt.Sprint("user", i), "10.0.0.1", 0)
			l.advance(time.Second)
		}
		l.guess("user30", "10.0.0.1", 30*time.Second)
		l.guess("alice", "10.0.0.1", 30*time.Second)
		l.logIn("alice", "10.0.0.2")
		l.advance(30 * time.Second)
		l.logIn("alice", "10.0.0.1")
	})
}

func TestLimiter_ABlockedAccountsLogInsDoNotCountForTheAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for range 5 {
			l.guess("bob", "10.0.0.1", 0)
		}
		for range 40 {
			l.guess("bob", "10.0.0.1", time.Second)
		}
		l.logIn("alice", "10.0.0.1")
	})
}

func TestLimiter_WrongTokensCountForTheAddressOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for range 30 {
			l.want(l.Failed(t.Context(), "10.0.0.1"), 0)
		}
		l.want(l.Failed(t.Context(), "10.0.0.1"), time.Minute)
		l.guess("bob", "10.0.0.1", time.Minute)
		l.logIn("bob", "10.0.0.2")
	})
}

func TestLimiter_TellsAddressesApart(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for range 30 {
			l.want(l.Failed(t.Context(), "2001:db8:1:2::1"), 0)
			l.want(l.Failed(t.Context(), "10.0.0.1:4711"), 0)
			l.want(l.Failed(t.Context(), "no address\x00\xff"), 0)
		}
		for address, wait := range map[string]time.Duration{
			"2001:db8:1:2:3:4:5:6": time.Minute, "[2001:db8:1:2::9]:80": time.Minute, "2001:db8:1:2::1%eth0": time.Minute, "2001:db8:1:3::1": 0,
			"10.0.0.1": time.Minute, "::ffff:10.0.0.1": time.Minute, "10.0.0.2": 0, "no address\x00\xff": time.Minute, "": 0,
		} {
			t.Run(address, func(t *testing.T) {
				l := *l
				l.t = t
				l.want(l.Failed(t.Context(), address), wait)
			})
		}
	})
}

func TestLimiter_KeepsNamesOfStrangersAsShortHashes(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for _, name := range []string{"", "my password in the wrong field", strings.Repeat("x", 100_000), "\xff\x00", "bo\u0308b"} {
			l.guess(name, "10.0.0.1", 0)
		}
		for range 4 {
			l.guess("b\u00f6b", "10.0.0.1", 0)
		}
		l.guess("bo\u0308b", "10.0.0.1", time.Second)
		var long, plain int
		if err := l.db.QueryRow("SELECT max(length(subject)), count(CASE WHEN subject LIKE '%password%' THEN 1 END) FROM greenroom_login_failures").Scan(&long, &plain); err != nil {
			t.Fatal(err)
		}
		if long > 64 || plain != 0 {
			t.Errorf("the longest subject has %d characters and %d are in the clear, want at most 64 and none", long, plain)
		}
	})
}

func TestLimiter_ForgetsWhatNoLongerCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		for i := range 20 {
			l.guess(fmt.Sprint("user", i), "10.0.0.1", 0)
		}
		if got := l.rows(); got != 21 {
			t.Errorf("%d rows, want 20 accounts and one address", got)
		}
		l.advance(time.Hour + time.Millisecond)
		l.guess("bob", "10.0.0.2", 0)
		if got := l.rows(); got != 2 {
			t.Errorf("%d rows after an hour, want those of the newest log-in alone", got)
		}
		l.advance(time.Minute)
		l.logIn("bob", "10.0.0.2")
		if got := l.rows(); got != 0 {
			t.Errorf("%d rows after a log-in, want none", got)
		}
	})
}

func TestLimiter_AClockThatWasWrongBlocksNobodyForLong(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		l.advance(24 * time.Hour)
		for range 6 {
			_ = l.Allow(t.Context(), "bob", "10.0.0.1")
		}
		l.advance(-24 * time.Hour)
		l.logIn("bob", "10.0.0.1")
		for range 5 {
			l.guess("bob", "10.0.0.1", 0)
		}
		l.advance(-500 * time.Millisecond) // another replica's clock
		l.guess("bob", "10.0.0.1", time.Second)
	})
}

func TestLimiter_ParallelGuessesOnSeveralReplicasGainNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, l *limits) {
		replicas := []*auth.Limiter{l.Limiter, auth.NewLimiter(l.store, l.now)}
		for _, c := range []struct {
			name, address string
			account       func(i int) string
			want          int32
		}{
			{"one account from many addresses", "10.0.%d.1", func(int) string { return "bob" }, 5},
			{"many accounts from one address", "10.1.0.1", func(i int) string { return fmt.Sprint("user", i) }, 30},
			{"one account from one address", "10.2.0.1", func(int) string { return "carol" }, 5},
		} {
			t.Run(c.name, func(t *testing.T) {
				var through atomic.Int32
				var wg sync.WaitGroup
				for i := range 100 {
					wg.Go(func() {
						address := c.address
						if strings.Contains(address, "%d") {
							address = fmt.Sprintf(address, i)
						}
						err := replicas[i%2].Allow(t.Context(), c.account(i), address)
						var throttled *auth.ThrottledError
						switch {
						case err == nil:
							through.Add(1)
						case !errors.As(err, &throttled):
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if got := through.Load(); got > c.want || got == 0 {
					t.Errorf("%d guesses came through, want at most %d", got, c.want)
				}
			})
		}
	})
}
