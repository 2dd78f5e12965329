package auth

import (
	"context"
	"fmt"
	"time"
)

// UnauthenticatedError refuses a request whose sender is not known. Message tells the sender what to do.
type UnauthenticatedError struct {
	Message string
	// InvalidToken says that a token was sent that is not valid, or no longer.
	InvalidToken bool
}

func (e *UnauthenticatedError) Error() string { return e.Message }

// ThrottledError refuses a log-in because too many have failed.
type ThrottledError struct{ RetryAfter time.Duration }

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("Too many log-ins failed; try again in %d s.", int(e.RetryAfter.Seconds())+1)
}

// Off is a server without authentication: everyone may do everything.
type Off struct{}

// Authenticate gives Anyone.
func (Off) Authenticate(context.Context, string, string) (*Principal, error) { return Anyone(), nil }
