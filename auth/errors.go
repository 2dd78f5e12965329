package auth

import "context"

// UnauthenticatedError refuses a request whose sender is not known. Message tells the sender what to do.
type UnauthenticatedError struct {
	Message string
	// InvalidToken says that a token was sent that is not valid, or no longer.
	InvalidToken bool
}

func (e *UnauthenticatedError) Error() string { return e.Message }

// Off is a server without authentication: everyone may do everything.
type Off struct{}

// Authenticate gives Anyone.
func (Off) Authenticate(context.Context, string, string) (*Principal, error) { return Anyone(), nil }

// PrincipalOf gives Anyone: whoever comes may do everything.
func (Off) PrincipalOf(context.Context, Account, *APIToken) (*Principal, error) { return Anyone(), nil }
