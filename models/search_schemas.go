package models

import (
	"greenroom/search"
)

// The vocabularies follow MLflow 3.17.2 entity by entity, its wording included.

// Comparators. The order is that of messages which print a list.
var (
	numberOps     = []string{"<", "<=", ">", ">=", "=", "!="}
	textOps       = []string{"=", "!=", "LIKE", "ILIKE"}
	textListOps   = []string{"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"}
	textNullOps   = []string{"=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"}
	idOps         = []string{"=", "!=", "IN", "NOT IN"}
	hidePromptsIf = map[string]string{"=": "true", "!=": "false"}
)

const (
	promptTag = "mlflow.prompt.is_prompt"

	blank           = search.Message("Invalid filter {filter}. Could not be parsed.")
	badClauseQuoted = search.Message("Invalid clause(s) in filter string: {quoted}")
	badClause       = search.Message("Invalid clause(s) in filter string: {clauses}")
	manyParts       = search.Message("Search filter contained multiple expression {filter}. Provide AND-ed expression list.")
	badKey          = search.Message("Invalid attribute key '{key}' specified. Valid keys are '{keys}'")
	badTagGroup     = search.Message("Invalid entity type '{group}'. Valid entity types are ('attribute', 'tag', 'tags')")
	badComparator   = search.Message("Invalid comparator '{op}' not one of '{ops}'")
	badAttributeOp  = search.Message("Invalid comparator for attribute: {op}")
	badNumber       = search.Message("Invalid value for numeric attribute '{key}': {repr}")
	badKeyedText    = search.Message("Expected a quoted string value for {group} (e.g. 'my-value'). Got value {value}")
	badText         = search.Message("Expected a quoted string value for attributes. Got value {value}")
	badTextOrList   = search.Message("Expected a quoted string value or a list of quoted string values for attributes. Got value {value}")
	badNumeric      = search.Message("Expected numeric value type for numeric attribute: {key}. Found {value}")
	badOrderEntity  = search.Message("Invalid order_by entity: {group}")
	noNulls         = search.Message("IS NULL / IS NOT NULL is not supported for {group} '{key}'")
	noListOf        = search.Message(" attributes support comparison with a list of quoted string values.")
)

// runSchema searches runs. A run's name is its tag: the column is empty for runs of MLflow before 1.30. It sorts by the column.
var runSchema = func() *search.Schema {
	text := func(column string) *search.Field {
		return &search.Field{
			Column: column, Ops: textListOps,
			BadValue: badText, NoList: "Only ['run_id']" + noListOf, BadOp: badComparator,
		}
	}
	id := text("runs.run_uuid")
	id.NoList, id.NotNull = "", true
	name := text("t.value")
	name.From = "tags t WHERE t.run_uuid = runs.run_uuid AND t.key = '" + tagRunName + "'"
	number := func(column string) *search.Field {
		return &search.Field{Column: column, Type: search.Int64, Ops: numberOps, BadValue: badNumeric, BadOp: badComparator}
	}
	attributes := &search.Group{
		Name:   "attribute",
		BadKey: badKey,
		Fields: map[string]*search.Field{
			"run_id":       id,
			"run_name":     name,
			"status":       text("runs.status"),
			"user_id":      text("runs.user_id"),
			"artifact_uri": text("runs.artifact_uri"),
			"start_time":   number("runs.start_time"),
			"end_time":     number("runs.end_time"),
		},
	}
	fields := attributes.Fields
	fields["created"], fields["Created"] = fields["start_time"], fields["start_time"]
	attributes.Order = withName(fields, "run_name", text("runs.name"))
	fields["run name"], fields["Run name"], fields["Run Name"] = name, name, name

	metrics := &search.Group{Name: "metric", Any: &search.Field{
		Column: "m.value", From: "latest_metrics m WHERE m.run_uuid = runs.run_uuid", Row: "m", KeyColumn: "m.key", NaN: "m.is_nan",
		Index: "greenroom_latest_metrics_by_value",
		Type:  search.Double, Ops: numberOps,
		BadValue: "Expected numeric value type for metric. Found {value}", BadOp: "Invalid comparator '{op}' not one of '{ops}",
	}}
	params := &search.Group{Name: "parameter", Any: &search.Field{
		Column: "p.value", From: "params p WHERE p.run_uuid = runs.run_uuid", Row: "p", KeyColumn: "p.key",
		Ops: textNullOps, BadValue: badKeyedText, BadOp: badComparator,
	}}
	tags := &search.Group{Name: "tag", Any: &search.Field{
		Column: "t.value", From: "tags t WHERE t.run_uuid = runs.run_uuid", Row: "t", KeyColumn: "t.key",
		Ops: textNullOps, BadValue: badKeyedText, BadOp: "Invalid comparator '{op}' not one of '{ops}",
	}}
	dataset := func(column, from string) *search.Field {
		return &search.Field{
			Column: column, From: from, Ops: textListOps,
			BadValue: "Expected a quoted string value for dataset attributes. Got value {value}",
			BadOp:    "Invalid comparator '{op}' not one of '{ops}",
		}
	}
	const ofRun = " WHERE i.destination_type = 'RUN' AND i.destination_id = runs.run_uuid AND i.source_type = 'DATASET'"
	const datasetOfRun = "inputs i JOIN datasets d ON d.dataset_uuid = i.source_id" + ofRun
	datasets := &search.Group{
		Name:    "dataset",
		BadKey:  "Invalid dataset key '{key}' specified. Valid keys are '{keys}'",
		NoOrder: "Invalid identifier type '{group}'",
		Fields: map[string]*search.Field{
			"name":    dataset("d.name", datasetOfRun),
			"digest":  dataset("d.digest", datasetOfRun),
			"context": dataset("c.value", "inputs i JOIN input_tags c ON c.input_uuid = i.input_uuid AND c.name = 'mlflow.data.context'"+ofRun),
		},
	}
	return &search.Schema{
		Groups: map[string]*search.Group{
			"attribute": attributes, "attributes": attributes, "attr": attributes, "run": attributes,
			"metric": metrics, "metrics": metrics,
			"parameter": params, "parameters": params, "param": params, "params": params,
			"tag": tags, "tags": tags,
			"dataset": datasets, "datasets": datasets,
		},
		Bare:      attributes,
		Ties:      []search.Term{{Column: "runs.start_time", Type: search.Int64, Desc: true}, {Column: "runs.run_uuid", NotNull: true}},
		Blank:     blank,
		BadClause: badClauseQuoted,
		ManyParts: manyParts,
		BadGroup:  "Invalid entity type '{group}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
		BadNull:   "IS NULL / IS NOT NULL is only supported for tags and params, not for '{group}' '{key}'",
	}
}()

// experimentSchema searches experiments. Its LIKE and IN count only in capitals.
var experimentSchema = func() *search.Schema {
	time := func(column string) *search.Field {
		return &search.Field{
			Column: column, Type: search.Int64, Whole: true, Ops: numberOps, BadValue: badNumeric,
			BadOp: "Invalid comparator '{op}' not one of '{ops}", BadNumber: badNumber,
		}
	}
	const noList = "Only ['experiment_id']" + noListOf
	attributes := &search.Group{
		Name:   "attribute",
		BadKey: badKey,
		Fields: map[string]*search.Field{
			"name": {
				Column: "experiments.name", NotNull: true, Ops: textListOps,
				BadValue: badText, NoList: noList, BadOp: badComparator,
			},
			"experiment_id": {
				Column: "experiments.experiment_id", NotNull: true, Type: search.Int32, Literal: search.Quoted, Ops: idOps,
				BadValue: badText, BadOp: "Invalid comparator for experiment_id: {op}",
				BadNumber: "Invalid experiment ID '{value}'. Experiment ID must be a valid integer.",
			},
			"creation_time":    time("experiments.creation_time"),
			"last_update_time": time("experiments.last_update_time"),
		},
	}
	attributes.Order = attributes.Fields
	tags := &search.Group{Name: "tag", NoOrder: badOrderEntity, Any: &search.Field{
		Column: "t.value", From: "experiment_tags t WHERE t.experiment_id = experiments.experiment_id", KeyColumn: "t.key",
		Ops: textNullOps, BadValue: badKeyedText, BadOp: "Invalid comparator for tag: {op}",
	}}
	return &search.Schema{
		Groups:   map[string]*search.Group{"attribute": attributes, "tag": tags, "tags": tags},
		Bare:     attributes,
		ExactOps: true,
		Default: []search.Term{
			{Column: "experiments.creation_time", Type: search.Int64, Desc: true}, {Column: "experiments.experiment_id", Type: search.Int32, NotNull: true},
		},
		Ties:          []search.Term{{Column: "experiments.experiment_id", Type: search.Int32, Desc: true, NotNull: true}},
		RepeatedOrder: true,
		Blank:         blank,
		BadClause:     badClause,
		ManyParts:     manyParts,
		BadGroup:      badTagGroup,
		BadNull:       "IS NULL / IS NOT NULL is only supported for tags, not for attribute '{key}'",
	}
}()

// registeredModelSchema searches registered models and hides prompts. Both timestamps to sort by are the last update.
var registeredModelSchema = func() *search.Schema {
	name := &search.Field{
		Column: "registered_models.name", NotNull: true, Ops: textListOps, BadValue: badTextOrList, BadOp: badAttributeOp,
	}
	updated := &search.Field{Column: "registered_models.last_updated_time", Type: search.Int64}
	attributes := &search.Group{
		Name: "attribute", BadKey: badKey, RawKeys: true,
		Fields: map[string]*search.Field{"name": name},
		Order:  map[string]*search.Field{"name": name, "timestamp": updated, "last_updated_timestamp": updated},
	}
	const ofModel = "registered_model_tags t WHERE t.workspace = registered_models.workspace AND t.name = registered_models.name"
	tags := registryTags(ofModel)
	return &search.Schema{
		Groups:     map[string]*search.Group{"attribute": attributes, "tag": tags, "tags": tags},
		Bare:       attributes,
		Ties:       []search.Term{{Column: "registered_models.name", NotNull: true}},
		Hidden:     prompts(tags, ofModel),
		Blank:      blank,
		BadClause:  badClause,
		ManyParts:  manyParts,
		BadGroup:   badTagGroup,
		BadNull:    noNulls,
		PlainOrder: true,
		BadOrder:   "Invalid order by key '{key}' specified. Valid keys are '{'name', 'timestamp'}'",
	}
}()

// modelVersionSchema searches model versions and hides those of prompts: all versions of a name of which one is marked.
var modelVersionSchema = func() *search.Schema {
	const noList = "Only ['name', 'run_id']" + noListOf
	text := func(column string) *search.Field {
		return &search.Field{
			Column: column, Ops: textListOps, BadValue: "Only the '{'creation_timestamp', 'last_updated_timestamp', 'version_number'}' " +
				"attributes support comparison with numeric values.",
			BadOp: badAttributeOp,
		}
	}
	name, source := text("model_versions.name"), text("model_versions.source")
	name.NotNull, source.NoList = true, noList
	version := &search.Field{
		Column: "model_versions.version", NotNull: true, Type: search.Int32, Literal: search.Either, Whole: true, Ops: numberOps,
		BadValue: badTextOrList, NoList: noList,
		BadOp:     "Invalid comparator for attribute {key}: {op}",
		BadNumber: badNumber, BadFraction: "Invalid value for numeric attribute '{key}': {value}",
	}
	attributes := &search.Group{
		Name: "attribute", BadKey: badKey, RawKeys: true,
		Fields: map[string]*search.Field{
			"name":           name,
			"run_id":         text("model_versions.run_id"),
			"source_path":    source,
			"version_number": version,
		},
		Order: map[string]*search.Field{
			"name":                   name,
			"version_number":         version,
			"creation_timestamp":     {Column: "model_versions.creation_time", Type: search.Int64},
			"last_updated_timestamp": {Column: "model_versions.last_updated_time", Type: search.Int64},
		},
	}
	const ofName = "model_version_tags t WHERE t.workspace = model_versions.workspace AND t.name = model_versions.name"
	tags := registryTags(ofName + " AND t.version = model_versions.version")
	byName := []search.Term{
		{Column: "model_versions.name", NotNull: true}, {Column: "model_versions.version", Type: search.Int32, Desc: true, NotNull: true},
	}
	return &search.Schema{
		Groups:    map[string]*search.Group{"attribute": attributes, "tag": tags, "tags": tags},
		Bare:      attributes,
		Default:   append([]search.Term{{Column: "model_versions.last_updated_time", Type: search.Int64, Desc: true}}, byName...),
		Ties:      byName,
		Hidden:    prompts(tags, ofName),
		Blank:     blank,
		BadClause: badClause,
		ManyParts: manyParts,
		BadGroup:  badTagGroup,
		BadNull:   noNulls,
	}
}()

// loggedModelSchema searches logged models. A metric matches if any of its values does, and sorts by the latest.
// It knows the model states by name as well as by number.
var loggedModelSchema = func() *search.Schema {
	const badOp = search.Message("Invalid comparison operator for {group}.{key}: '{op}'. Expected one of {list}.")
	const badNumber = search.Message("Invalid value for {group}.{key}: {repr}. Expected a number.")
	text := func(column string, notNull bool) *search.Field {
		return &search.Field{Column: column, NotNull: notNull, BareText: true, Ops: textListOps, BadOp: badOp}
	}
	time := func(column string) *search.Field {
		return &search.Field{
			Column: column, NotNull: true, Type: search.Int64, Ops: numberOps, BadValue: badNumber, BadOp: badOp, BadNumber: badNumber,
		}
	}
	number := func(column string, names map[string]int64, hint search.Message) *search.Field {
		return &search.Field{
			Column: column, NotNull: true, Type: search.Int32, Literal: search.Either, Whole: true, BareText: true, Names: names, Ops: idOps,
			BadValue: badNumber, BadOp: badOp, BadNumber: "Invalid value for {group}.{key}: {repr}. " + hint,
		}
	}
	created := time("logged_models.creation_timestamp_ms")
	updated := time("logged_models.last_updated_timestamp_ms")
	states := map[string]int64{
		"PENDING": 1, "READY": 2, "UPLOAD_FAILED": 3,
		"LOGGED_MODEL_PENDING": 1, "LOGGED_MODEL_READY": 2, "LOGGED_MODEL_UPLOAD_FAILED": 3,
	}
	attributes := &search.Group{
		Name:   "attributes",
		BadKey: badKey,
		Fields: map[string]*search.Field{
			"model_id":                  text("logged_models.model_id", true),
			"name":                      text("logged_models.name", true),
			"model_type":                text("logged_models.model_type", false),
			"source_run_id":             text("logged_models.source_run_id", false),
			"artifact_location":         text("logged_models.artifact_location", true),
			"lifecycle_stage":           text("logged_models.lifecycle_stage", false),
			"status_message":            text("logged_models.status_message", false),
			"status":                    number("logged_models.status", states, "Expected 1 or 'PENDING', 2 or 'READY', 3 or 'UPLOAD_FAILED'."),
			"experiment_id":             number("logged_models.experiment_id", nil, "Expected a whole number."),
			"creation_timestamp_ms":     created,
			"creation_timestamp":        created,
			"creation_time":             created,
			"last_updated_timestamp_ms": updated,
			"last_updated_timestamp":    updated,
		},
	}
	attributes.Order = attributes.Fields
	metrics := &search.Group{Name: "metrics", Any: &search.Field{
		Column: "m.metric_value", From: loggedModelMetrics, KeyColumn: "m.metric_name", Scoped: true,
		Latest: "ORDER BY m.metric_timestamp_ms DESC, m.metric_step DESC, m.run_id LIMIT 1",
		Type:   search.Double, Ops: numberOps, BadValue: badNumber, BadOp: badOp,
	}}
	noOrder := search.Message("Invalid order by field name: {group}.{key}. Only metrics are supported.")
	params := &search.Group{Name: "params", NoOrder: noOrder, Any: &search.Field{
		Column: "p.param_value", From: "logged_model_params p WHERE p.model_id = logged_models.model_id", KeyColumn: "p.param_key",
		BareText: true, Ops: textListOps, BadOp: badOp,
	}}
	tags := &search.Group{Name: "tags", NoOrder: noOrder, Any: &search.Field{
		Column: "t.tag_value", From: "logged_model_tags t WHERE t.model_id = logged_models.model_id", KeyColumn: "t.tag_key",
		BareText: true, Ops: textListOps, BadOp: badOp,
	}}
	const unreadable = search.Message("Invalid filter string: {filter}. Expected a list of comparisons separated by 'AND' " +
		"(e.g. 'metrics.loss > 0.1 AND params.lr = 0.01').")
	const notOne = search.Message("Invalid filter string: {filter}. Expected a single SQL expression.")
	return &search.Schema{
		Groups:    map[string]*search.Group{"attributes": attributes, "metrics": metrics, "params": params, "tags": tags},
		Bare:      attributes,
		LooseKeys: true,
		OpFirst:   true,
		Ties: []search.Term{
			{Column: "logged_models.creation_timestamp_ms", Type: search.Int64, Desc: true, NotNull: true}, {Column: "logged_models.model_id", NotNull: true},
		},
		RepeatedOrder: true,
		Blank:         notOne,
		BadClause:     unreadable,
		ManyParts:     notOne,
		BadGroup:      "Invalid entity type: '{group}'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
		BadNull:       "Invalid comparison: {key} {op}. Expected a comparison with 3 tokens.",
		BadOrder:      "Invalid order by field name: {key}. Valid names are {keys}",
	}
}()

const loggedModelMetrics = "logged_model_metrics m WHERE m.model_id = logged_models.model_id"

// withName is a copy of fields with one of them replaced.
func withName(fields map[string]*search.Field, name string, field *search.Field) map[string]*search.Field {
	copied := make(map[string]*search.Field, len(fields))
	for k, f := range fields {
		copied[k] = f
	}
	copied[name] = field
	return copied
}

// registryTags are the tags of a registered model or a model version.
func registryTags(from string) *search.Group {
	return &search.Group{Name: "tag", NoOrder: badOrderEntity, Any: &search.Field{
		Column: "t.value", From: from, KeyColumn: "t.key", Ops: textOps, BadValue: badKeyedText, BadOp: "Invalid comparator for tag: {op}",
	}}
}

// prompts are hidden: models that are prompts carry a tag.
func prompts(tags *search.Group, from string) *search.Hidden {
	return &search.Hidden{
		Group: tags, Key: promptTag, ShowIf: hidePromptsIf,
		Without: "NOT EXISTS (SELECT 1 FROM " + from + " AND t.key = '" + promptTag + "' AND t.value = 'true')",
	}
}

// DatasetFilter names a dataset whose metrics count. An empty digest means metrics logged without one.
type DatasetFilter struct {
	Name   string
	Digest string
}

// loggedModelWhere is the condition for a search of logged models: a filter, and datasets that its metrics are limited to.
// With datasets but no metric in the filter, models with any metric on them are found.
func loggedModelWhere(d search.Dialect, filter string, datasets []DatasetFilter) (search.Clause, error) {
	if len(datasets) == 0 {
		return loggedModelSchema.Where(d, filter)
	}
	if len(datasets) > 100 {
		return search.Clause{}, &search.Error{Message: "Invalid `datasets`: at most 100 are allowed."}
	}
	within := &search.Clause{}
	for i, ds := range datasets {
		if ds.Name == "" {
			return search.Clause{}, &search.Error{Message: "`dataset_name` in the `datasets` clause must be specified."}
		}
		if err := search.CheckText("datasets", ds.Name+ds.Digest); err != nil {
			return search.Clause{}, err
		}
		if i > 0 {
			within.SQL += " OR "
		}
		if ds.Digest == "" {
			within.SQL += "m.dataset_name = ? AND m.dataset_digest IS NULL"
			within.Args = append(within.Args, ds.Name)
		} else {
			within.SQL += "m.dataset_name = ? AND m.dataset_digest = ?"
			within.Args = append(within.Args, ds.Name, ds.Digest)
		}
	}
	return loggedModelSchema.WhereWithin(d, filter, within)
}

// LoggedModelOrder is one sort key of a search of logged models. A metric can be limited to a dataset, by name or by name and digest.
type LoggedModelOrder struct {
	FieldName     string
	Descending    bool
	DatasetName   string
	DatasetDigest string
}

// loggedModelOrderBy is the order of a search of logged models.
func loggedModelOrderBy(d search.Dialect, keys []LoggedModelOrder) ([]search.Key, error) {
	items := make([]search.Item, len(keys))
	for i, k := range keys {
		items[i] = search.Item{Identifier: k.FieldName, Desc: k.Descending}
		switch {
		case k.FieldName == "":
			return nil, &search.Error{Message: "`field_name` in the `order_by` clause must be specified."}
		case k.DatasetDigest != "" && k.DatasetName == "":
			return nil, &search.Error{Message: "`dataset_digest` can only be specified if `dataset_name` is also specified."}
		case k.DatasetName == "":
			continue
		}
		if err := search.CheckText("order_by", k.DatasetName+k.DatasetDigest); err != nil {
			return nil, err
		}
		within := &search.Clause{SQL: "m.dataset_name = ?", Args: []any{k.DatasetName}}
		if k.DatasetDigest != "" {
			within.SQL += " AND m.dataset_digest = ?"
			within.Args = append(within.Args, k.DatasetDigest)
		}
		items[i].Within = within
	}
	return loggedModelSchema.OrderByItems(d, items)
}
