package models

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits in characters. Where MLflow's code allows more than the column holds, the column decides: PostgreSQL would refuse
// the rest, and SQLite must not accept what cannot move to PostgreSQL.
const (
	maxExperimentName     = 256
	maxArtifactLocation   = 256
	maxRunArtifactURI     = 200
	maxRunName            = 250
	maxUserID             = 256
	maxKey                = 250
	maxParamValue         = 6000
	maxTagValue           = 8000
	maxExperimentTagValue = 20000
)

// Limits of one log-batch.
const (
	maxBatchMetrics  = 1000
	maxBatchParams   = 100
	maxBatchTags     = 100
	maxBatchEntities = 1000
)

// checkName applies MLflow's rule for keys of metrics, params and tags; field is the parameter named in the message.
func checkName(field, name string) error {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_/.- :", r) {
			return invalid("Invalid value %s for parameter '%s' supplied: Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).", Quote(name), field)
		}
	}
	return checkPathLike(field, name)
}

// checkPathLike refuses names that would be another name, or outside, when taken for a file.
func checkPathLike(field, name string) error {
	clean := cleanPath(name)
	if clean != name || clean == "." || strings.HasPrefix(clean, "..") || strings.HasPrefix(clean, "/") {
		return invalid("Invalid value %s for parameter '%s' supplied: Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to '%s'", Quote(name), field, clean)
	}
	return nil
}

// cleanPath is POSIX's normalisation, where exactly two leading slashes stay two.
func cleanPath(name string) string {
	clean := path.Clean(name)
	if strings.HasPrefix(name, "//") && !strings.HasPrefix(name, "///") {
		clean = "/" + clean
	}
	return clean
}

// checkLength counts characters as PostgreSQL does.
func checkLength(field, value string, limit int) error {
	if len(value) > limit && utf8.RuneCountInString(value) > limit {
		return invalid("'%s' exceeds the maximum length of %d characters", field, limit)
	}
	return nil
}

// fitValue cuts a value to the limit, or refuses it if the operator wants that.
func (o Options) fitValue(field, value string, limit int) (string, error) {
	if len(value) <= limit || utf8.RuneCountInString(value) <= limit {
		return value, nil
	}
	if o.RefuseLongValues {
		return "", checkLength(field, value, limit)
	}
	for i := range value {
		if limit == 0 {
			return value[:i], nil
		}
		limit--
	}
	return value, nil
}

// Tag is a key and a value on an experiment, a run, a logged model, a registered model or a version.
type Tag struct{ Key, Value string }

// Param is a setting of a run or a logged model.
type Param struct{ Key, Value string }
