package models

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Code is an MLflow error code. Only codes that clients from 1.30 on know are here: an unknown one crashes them.
type Code string

// The error codes, named as MLflow names them.
const (
	InternalError          Code = "INTERNAL_ERROR"
	TemporarilyUnavailable Code = "TEMPORARILY_UNAVAILABLE"
	BadRequest             Code = "BAD_REQUEST"
	InvalidParameterValue  Code = "INVALID_PARAMETER_VALUE"
	EndpointNotFound       Code = "ENDPOINT_NOT_FOUND"
	CustomerUnauthorized   Code = "CUSTOMER_UNAUTHORIZED"
	RequestLimitExceeded   Code = "REQUEST_LIMIT_EXCEEDED"
	PermissionDenied       Code = "PERMISSION_DENIED"
	FeatureDisabled        Code = "FEATURE_DISABLED"
	ResourceConflict       Code = "RESOURCE_CONFLICT"
	NotImplemented         Code = "NOT_IMPLEMENTED"
	ResourceAlreadyExists  Code = "RESOURCE_ALREADY_EXISTS"
	ResourceDoesNotExist   Code = "RESOURCE_DOES_NOT_EXIST"
)

// Error is a refusal a client can act on. Any other error that a Store returns is a failure of the server.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

func invalid(format string, args ...any) error {
	return &Error{InvalidParameterValue, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &Error{ResourceDoesNotExist, fmt.Sprintf(format, args...)}
}

func alreadyExists(format string, args ...any) error {
	return &Error{ResourceAlreadyExists, fmt.Sprintf(format, args...)}
}

func isNotFound(err error) bool {
	var known *Error
	return errors.As(err, &known) && known.Code == ResourceDoesNotExist
}

// Refuse makes a refusal of what a check of auth has found wrong with a name or password.
func Refuse(err error) error {
	text := err.Error()
	first, size := utf8.DecodeRuneInString(text)
	return invalid("%s.", string(unicode.ToUpper(first))+text[size:])
}
