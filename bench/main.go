// Command bench measures servers of MLflow's API side by side: this one, genuine MLflow and FastTrackML, each on fresh
// storage, and beside them what the database does without a server. docs/PERFORMANCE.md says what is measured and how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == helloCommand {
		fmt.Fprintln(os.Stderr, serveHello(os.Args[2]))
		os.Exit(1)
	}
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	only      *regexp.Regexp
	peers     []string
	databases []string
	rounds    int
	window    time.Duration
	binary    string
	dir       string
	out       string
	// How much is put into the tables.
	searchedRuns int
	runs         []int // of the growing databases
	points       []int
	versions     []int
	artifact     int // bytes
	list         bool
}

func parse(arguments []string, errs io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	only := flags.String("only", "", "measure only the workloads whose name this regular expression matches; -list shows them")
	peers := flags.String("peers", fasttrackml+","+mlflow, "the servers beside ours, separated by commas; empty for none")
	databases := flags.String("databases", sqlite+","+postgres, "the databases, separated by commas")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each is measured, in turns")
	flags.DurationVar(&o.window, "duration", 2*time.Second, "how long each is measured in a round")
	flags.StringVar(&o.binary, "greenroom", "", "our server's binary (default: built from the source)")
	flags.StringVar(&o.dir, "dir", "", "folder for the databases, on the disk that is meant (default: the system's temporary folder)")
	flags.StringVar(&o.out, "o", "", "file for the table, besides standard output")
	runs := flags.String("runs", "5000,50000,500000", "sizes of the databases whose first and last page of runs are read")
	points := flags.String("points", "100000,1000000", "lengths of the histories")
	versions := flags.String("versions", "10000,100000", "how many model versions a model's are searched among")
	quick := flags.Bool("quick", false, "one round, short windows, small tables: shows that all works, not how fast it is")
	flags.BoolVar(&o.list, "list", false, "list the workloads")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.peers, err = choices("-peers", *peers, fasttrackml, mlflow); err != nil {
		return o, err
	}
	if o.databases, err = choices("-databases", *databases, sqlite, postgres); err != nil {
		return o, err
	}
	o.searchedRuns, o.artifact = 5000, 256<<20
	if *quick {
		o.rounds, o.window, o.searchedRuns, o.artifact = 1, min(o.window, 200*time.Millisecond), 2000, 16<<20
		*runs, *points, *versions = "2000,4000", "20000", "2000"
	}
	if o.runs, err = sizes("-runs", *runs, 1000); err != nil {
		return o, err
	}
	if o.points, err = sizes("-points", *points, 1000); err != nil {
		return o, err
	}
	if o.versions, err = sizes("-versions", *versions, registryWorkers*versionsOfModel); err != nil {
		return o, err
	}
	return o, nil
}

// sizes are rising numbers, separated by commas.
func sizes(name, text string, least int) ([]int, error) {
	var all []int
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < least || len(all) > 0 && n <= all[len(all)-1] {
			return nil, fmt.Errorf("%s: %q: give rising numbers, from %d on", name, text, least)
		}
		all = append(all, n)
	}
	return all, nil
}

func choices(name, text string, known ...string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	all := strings.Split(text, ",")
	for _, c := range all {
		if !slices.Contains(known, c) {
			return nil, fmt.Errorf("%s: %q is none of %s", name, c, strings.Join(known, ", "))
		}
	}
	return all, nil
}

// env is one run of the command.
type env struct {
	options
	progress io.Writer
	begun    time.Time
	cluster  *cluster
	products []*product
	running  []*server
	results  []result
}

func run(ctx context.Context, arguments []string, out, progress io.Writer) (err error) {
	o, err := parse(arguments, progress)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	e := &env{options: o, progress: progress, begun: time.Now()}
	if o.list {
		for _, w := range e.workloads() {
			fmt.Fprintln(out, w.name)
		}
		return nil
	}
	if e.dir, err = os.MkdirTemp(o.dir, "greenroom-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(e.dir)) }()
	if err := os.Chmod(e.dir, 0o755); err != nil { // PostgreSQL's own user goes through it
		return err
	}
	if err := e.findProducts(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writeTable(out, e.results)) }() // of a run that is broken off, what there is
	for _, engine := range o.databases {
		if err := e.measureEngine(ctx, engine); err != nil {
			return err
		}
	}
	return nil
}

// keep adds results to the table, and writes it to its file, so that a run that is broken off leaves what it measured.
func (e *env) keep(some []result) error {
	e.results = append(e.results, some...)
	byWorkload(e.results)
	if e.out == "" {
		return nil
	}
	file, err := os.Create(e.out)
	if err != nil {
		return err
	}
	return errors.Join(writeTable(file, e.results), file.Close())
}

// byWorkload puts the engines of a figure beside each other.
func byWorkload(results []result) {
	place := map[string]int{}
	for _, r := range results {
		key := r.workload + r.figure.name
		if _, ok := place[key]; !ok {
			place[key] = len(place)
		}
	}
	slices.SortStableFunc(results, func(a, b result) int {
		return place[a.workload+a.figure.name] - place[b.workload+b.figure.name]
	})
}

func (e *env) findProducts(ctx context.Context) error {
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	if e.binary == "" {
		e.binary = filepath.Join(e.dir, "greenroom")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "nomsgpack", "-ldflags", "-s -w", "-o", e.binary, "./cmd/greenroom")
		build.Dir, build.Env, build.Stderr = root, append(os.Environ(), "CGO_ENABLED=0"), e.progress
		if err := build.Run(); err != nil {
			return fmt.Errorf("build our server: %w", err)
		}
	}
	if e.binary, err = filepath.Abs(e.binary); err != nil {
		return err
	}
	e.products = []*product{greenroomProduct(e.binary)}
	for _, peer := range e.peers {
		environment := map[string]string{fasttrackml: "fasttrackml", mlflow: "3.17.2"}[peer]
		python, err := output(ctx, "python3", filepath.Join(root, "compat_tests", "venvs.py"), environment)
		if err != nil {
			return fmt.Errorf("install %s: %w", peer, err)
		}
		if peer == fasttrackml {
			e.products = append(e.products, fasttrackmlProduct(filepath.Join(filepath.Dir(python), "fml")))
		} else {
			e.products = append(e.products, mlflowProduct(python))
		}
	}
	return nil
}

// output is what a command prints, without the end of the line.
func output(ctx context.Context, name string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// contestant is a server, or the limit, that is measured in turns with the others.
type contestant struct {
	name  string
	round round
}

func (e *env) measureEngine(ctx context.Context, engine string) (err error) {
	chosen := slices.DeleteFunc(e.workloads(), func(w workload) bool {
		return !e.only.MatchString(w.name) || w.engines != nil && !slices.Contains(w.engines, engine)
	})
	if len(chosen) == 0 {
		return nil
	}
	if engine == postgres {
		if e.cluster, err = startCluster(e.dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.cluster.stop()) }()
	}
	defer func() {
		for len(e.running) > 0 {
			err = errors.Join(err, e.running[0].stop())
		}
	}()
	var servers []*server
	for _, p := range e.products {
		s, err := e.start(ctx, p, engine)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.progress, "%s: %s answers after %.2f s\n", engine, p.name, s.took.Seconds())
		servers = append(servers, s)
	}
	b, err := e.openBare(ctx, engine)
	if err != nil {
		return err
	}
	defer b.close()
	for i, w := range chosen {
		fmt.Fprintf(e.progress, "%s: %d of %d after %s: %s\n", engine, i+1, len(chosen), time.Since(e.begun).Round(time.Second), w.name)
		some, err := e.measure(ctx, w, engine, servers, b)
		if err == nil {
			err = e.keep(some)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", w.name, engine, err)
		}
	}
	return nil
}

// tooLong is a round after which a peer sits the others out.
const tooLong = 10 * time.Second

// measure ends with an error if ours fails. A peer that fails is left out, and the table says so.
func (e *env) measure(ctx context.Context, w workload, engine string, servers []*server, b *bare) ([]result, error) {
	var all []contestant
	out := map[string]bool{}
	var notes []string
	leaveOut := func(name string, err error) error {
		if ctx.Err() != nil || name == ours || name == limit {
			return fmt.Errorf("%s: %w", name, err)
		}
		out[name] = true
		notes = append(notes, fmt.Sprintf("%s failed on %s: %v", name, engine, err))
		fmt.Fprintln(e.progress, notes[len(notes)-1])
		return nil
	}
	for _, s := range servers {
		if s.name != ours && !slices.Contains(w.peers, s.name) {
			continue
		}
		r, err := w.prepare(ctx, s)
		if err != nil {
			if err := leaveOut(s.name, err); err != nil {
				return nil, err
			}
		}
		all = append(all, contestant{s.name, r})
	}
	if w.limit != nil {
		r, err := w.limit(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("prepare the limit: %w", err)
		}
		all = append(all, contestant{limit, r})
	}
	results := make([]result, len(w.figures))
	for i, f := range w.figures {
		results[i] = result{workload: w.name, engine: engine, figure: f, limitIs: w.limitIs[engine], values: map[string][]float64{}}
	}
	for n := range e.rounds {
		for i := range all {
			c := all[(i+n)%len(all)] // another one begins in every round
			var values []float64
			if !out[c.name] {
				begun := time.Now()
				var err error
				if values, err = c.round(ctx); err != nil {
					if err := leaveOut(c.name, err); err != nil {
						return nil, err
					}
				}
				out[c.name] = out[c.name] || c.name != ours && time.Since(begun) > tooLong
			}
			for i := range results {
				v := math.NaN()
				if i < len(values) {
					v = values[i]
				}
				results[i].values[c.name] = append(results[i].values[c.name], v)
			}
		}
	}
	if w.note != "" {
		notes = append(notes, w.note)
	}
	for i := range results {
		results[i].notes = notes
		fmt.Fprintln(e.progress, results[i].line())
	}
	return results, nil
}

// line is a result in short, for the terminal while the others are still measured.
func (r result) line() string {
	text := fmt.Sprintf("%s, %s %s [%s]:", r.engine, r.workload, r.figure.name, r.figure.unit.name)
	for _, c := range contestants {
		if len(r.values[c]) > 0 {
			text += fmt.Sprintf("  %s %s", c, written(r.values[c], r.figure.unit.format))
		}
		if ratios := r.ratios(c); c != ours && len(ratios) > 0 {
			text += " = ×" + written(ratios, plain)
		}
	}
	return text + "  " + r.verdict()
}
