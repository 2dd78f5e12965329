package auth

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/scrypt"
	"golang.org/x/text/unicode/norm"
)

// New passwords are hashed with argon2id at the cost that OWASP's Password Storage Cheat Sheet names first.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonSum     = 32 // bytes
)

// A hash from the database may ask for this much at most.
const (
	maxMemory     = 128 << 20 // bytes
	maxTime       = 16
	maxThreads    = 16
	maxIterations = 2_000_000 // of PBKDF2; werkzeug's default is 1 000 000
)

// Passwords hashes and verifies passwords, as many at a time as the process has cores: each takes tens of megabytes, and
// more at once are not done earlier.
type Passwords struct {
	room chan struct{}
}

// NewPasswords makes room for passwords.
func NewPasswords() *Passwords { return &Passwords{make(chan struct{}, runtime.GOMAXPROCS(0))} }

// enter waits for room; leave gives it back.
func (p *Passwords) enter(ctx context.Context) error {
	select {
	case p.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Passwords) leave() { <-p.room }

// Hash makes what is kept of a password: argon2id in the PHC string format. An error is ctx's.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // it never fails
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonSum)
	return argonPrefix(argonMemory, argonTime, argonThreads) + phc.EncodeToString(salt) + "$" + phc.EncodeToString(sum), nil
}

// Verify tells whether a password is the one that was hashed, by Hash or by werkzeug in an imported MLflow user (scrypt,
// PBKDF2 with SHA-256). An error is ctx's, or that the hash is of another kind.
func (p *Passwords) Verify(ctx context.Context, hash, password string) (bool, error) {
	parsed, err := parseHash(hash)
	if err != nil {
		return false, fmt.Errorf("verify a password: %w", err)
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	sum, err := parsed.derive([]byte(password))
	if err != nil {
		return false, fmt.Errorf("verify a password: %w", err)
	}
	return subtle.ConstantTimeCompare(sum, parsed.sum) == 1, nil
}

// VerifyNobody costs what Verify does: who tries the name of an unknown user, or of one without a password, waits as long as
// for a wrong password. Only an imported user gives away, until the first log-in rehashes, that the name exists.
func (p *Passwords) VerifyNobody(ctx context.Context, password string) error {
	nobody := argonPrefix(argonMemory, argonTime, argonThreads) + phc.EncodeToString(make([]byte, argonSalt)) + "$" + phc.EncodeToString(make([]byte, argonSum))
	_, err := p.Verify(ctx, nobody, password)
	return err
}

// NeedsRehash tells whether a hash is not of the kind and cost that Hash uses now: whoever has just verified the password hashes it again.
func NeedsRehash(hash string) bool {
	return !strings.HasPrefix(hash, argonPrefix(argonMemory, argonTime, argonThreads))
}

type passwordHash struct {
	derive func(password []byte) ([]byte, error)
	sum    []byte
}

// errHash does not show the hash, which is a secret.
var errHash = errors.New("the stored hash is damaged or of a kind this server does not know: set the user's password again")

func parseHash(hash string) (passwordHash, error) {
	switch {
	case strings.HasPrefix(hash, "$argon2id$"):
		return parseArgon2id(hash)
	case strings.HasPrefix(hash, "scrypt:"), strings.HasPrefix(hash, "pbkdf2:"):
		return parseWerkzeug(hash)
	}
	return passwordHash{}, errHash
}

// phc is the base64 of the PHC string format.
var phc = base64.RawStdEncoding.Strict()

func argonPrefix(memory, time uint32, threads uint8) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, memory, time, threads)
}

// parseArgon2id reads $argon2id$v=19$m=KiB,t=passes,p=threads$salt$sum.
func parseArgon2id(hash string) (passwordHash, error) {
	var memory, time uint32
	var threads uint8
	parts := strings.Split(hash, "$")
	if len(parts) != 6 {
		return passwordHash{}, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return passwordHash{}, errHash
	}
	if !strings.HasPrefix(hash, argonPrefix(memory, time, threads)) ||
		memory > maxMemory>>10 || time < 1 || time > maxTime || threads < 1 || threads > maxThreads {
		return passwordHash{}, errHash
	}
	salt, saltErr := phc.DecodeString(parts[4])
	sum, sumErr := phc.DecodeString(parts[5])
	if saltErr != nil || sumErr != nil || len(salt) < 8 || len(sum) < 16 || len(sum) > 64 {
		return passwordHash{}, errHash
	}
	return passwordHash{sum: sum, derive: func(password []byte) ([]byte, error) {
		return argon2.IDKey(password, salt, time, memory, threads, uint32(len(sum))), nil
	}}, nil
}

// parseWerkzeug reads scrypt:N:r:p$salt$sum and pbkdf2:sha256:iterations$salt$sum. The salt is text as it stands, the sum is hexadecimal.
func parseWerkzeug(hash string) (passwordHash, error) {
	method, rest, _ := strings.Cut(hash, "$")
	salt, sumText, _ := strings.Cut(rest, "$")
	sum, err := hex.DecodeString(sumText)
	if err != nil || salt == "" {
		return passwordHash{}, errHash
	}
	if digits, ok := strings.CutPrefix(method, "pbkdf2:sha256:"); ok {
		iterations, err := strconv.Atoi(digits)
		if err != nil || iterations < 1 || iterations > maxIterations || len(sum) != sha256.Size {
			return passwordHash{}, errHash
		}
		return passwordHash{sum: sum, derive: func(password []byte) ([]byte, error) {
			return pbkdf2.Key(sha256.New, string(password), []byte(salt), iterations, len(sum))
		}}, nil
	}
	var n, r, p uint32
	if _, err := fmt.Sscanf(method, "scrypt:%d:%d:%d", &n, &r, &p); err != nil || fmt.Sprintf("scrypt:%d:%d:%d", n, r, p) != method {
		return passwordHash{}, errHash
	}
	block := 128 * uint64(n) * uint64(r) // bytes, p times one after the other
	if n < 2 || bits.OnesCount32(n) != 1 || r < 1 || p < 1 || block > maxMemory || block*uint64(p) > maxMemory || len(sum) != 64 {
		return passwordHash{}, errHash
	}
	return passwordHash{sum: sum, derive: func(password []byte) ([]byte, error) {
		return scrypt.Key(password, []byte(salt), int(n), int(r), int(p), len(sum))
	}}, nil
}

// The limits of names and passwords.
const (
	minPassword = 12   // characters, as MLflow asks for
	maxPassword = 1024 // bytes
	maxUserName = 255  // characters
)

// CheckNewPassword refuses passwords that are easily guessed or that some client could not send; the error says what to do.
// Passwords of imported users need not pass it.
func CheckNewPassword(name, password string) error {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Errorf("the password must be at least %d characters: choose a longer one", minPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("the password must be at most %d bytes: choose a shorter one", maxPassword)
	case !utf8.ValidString(password):
		return errors.New("the password must be UTF-8 text: send it in that encoding")
	case strings.ContainsFunc(password, unicode.IsControl):
		return errors.New("the password must not have control characters such as tabs and line ends: leave them out")
	case strings.TrimSpace(password) == "":
		return errors.New("the password must not be blank: choose one with letters, digits or signs")
	case strings.EqualFold(password, name):
		return errors.New("the password must not be the user's name: choose another")
	}
	return nil
}

// CheckUserName refuses names that look like another one or that Basic authentication cannot carry; the error says what to do.
func CheckUserName(name string) error {
	switch {
	case name == "":
		return errors.New("the user's name must not be empty: give one")
	case !utf8.ValidString(name):
		return errors.New("the user's name must be UTF-8 text: send it in that encoding")
	case utf8.RuneCountInString(name) > maxUserName:
		return fmt.Errorf("the user's name must be at most %d characters: choose a shorter one", maxUserName)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the user's name %q must not begin or end with blanks: remove them", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the user's name %q must not have control or invisible characters: remove them", name)
	case !norm.NFC.IsNormalString(name):
		return fmt.Errorf("the user's name %q must be in Unicode's composed form: write it as %q", name, norm.NFC.String(name))
	case strings.Contains(name, ":"):
		return fmt.Errorf("the user's name %q must not have a ':', which ends the name in Basic authentication: choose another", name)
	case strings.HasPrefix(name, "__"):
		return fmt.Errorf("the user's name %q must not begin with '__', which is kept for the server's own: choose another", name)
	}
	return nil
}
