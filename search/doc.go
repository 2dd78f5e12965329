// Package search is MLflow's filter and order_by language: scanner, parser, checker and SQL builder.
//
// A [Schema] is data: what one entity (runs, experiments, …) can be searched by, and how. [Schema.Where] and
// [Schema.OrderBy], or [Schema.Query] for both, turn a user's text into SQL text with ? placeholders and the values for them. Names of tables and
// columns come from the Schema alone; keys and values of the user are always arguments.
//
//	filter     = { clause [ AND ] }
//	clause     = identifier comparator value
//	           | identifier [ NOT ] IN "(" text { "," text } [ "," ] ")"
//	           | identifier IS [ NOT ] NULL
//	identifier = [ group "." ] key
//	order item = identifier [ ASC | DESC ]
//
// Every mistake of the user is an [*Error]. All work is linear in the length of the text, which is limited.
package search
