// Command tiltfile evaluates a Tiltfile without Tilt, a cluster or Docker: with the interpreter that Tilt uses, and Tilt's documented
// functions (https://docs.tilt.dev/api.html). What they are called with is written down as JSON instead of being done. Charts are really
// rendered, and files really read, since a Tiltfile goes on with what comes out.
//
//	tiltfile -helm <program> [-settings '{"broker":"jetstream"}'] [-subcommand up|ci] <Tiltfile>
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

const version = "1.0.0"

// What Tilt documents that these functions take, in the order of their parameters. Anything else is a mistake in the Tiltfile.
var documented = map[string]string{
	"allow_k8s_contexts":   "contexts",
	"cmd_button":           "name resource argv text location icon_name icon_svg inputs",
	"config.define_string": "name args usage",
	"docker_build":         "ref context build_args dockerfile dockerfile_contents live_update match_in_env_vars ignore only entrypoint target",
	"fall_back_on":         "files",
	"k8s_resource":         "workload new_name port_forwards extra_pod_selectors trigger_mode resource_deps objects auto_init pod_readiness links labels",
	"k8s_yaml":             "yaml allow_duplicates",
	"link":                 "url name",
	"local_resource":       "name cmd deps trigger_mode resource_deps ignore auto_init serve_cmd cmd_bat serve_cmd_bat links tags env serve_env readiness_probe dir serve_dir labels allow_parallel",
	"port_forward":         "local_port container_port name link_path host",
	"run":                  "cmd trigger echo_off",
	"sync":                 "local_path remote_path",
	"update_settings":      "max_parallel_updates k8s_upsert_timeout_secs suppress_unused_image_warnings",
	"version_settings":     "check_updates constraint",
}

// What extensions export.
var extensions = map[string][]string{"ext://uibutton": {"cmd_button"}}

type call struct {
	Function  string         `json:"function"`
	Arguments map[string]any `json:"arguments"`
	Line      int32          `json:"line"`
}

type evaluation struct {
	helm, folder string
	settings     map[string]string
	defined      []string
	calls        []call
}

func main() {
	helm := flag.String("helm", "helm", "the program that renders charts")
	settings := flag.String("settings", "{}", "what is written after --, as JSON")
	subcommand := flag.String("subcommand", "up", "up or ci")
	asked := flag.Bool("version", false, "say which version this is")
	flag.Parse()
	if *asked {
		fmt.Println(version)
		return
	}
	it := &evaluation{helm: *helm, folder: filepath.Dir(flag.Arg(0))}
	err := json.Unmarshal([]byte(*settings), &it.settings)
	if err == nil {
		err = it.evaluate(flag.Arg(0), *subcommand)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(it.calls)
	}
	if err != nil {
		if trace, ok := err.(*starlark.EvalError); ok {
			err = errors.New(trace.Backtrace())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (it *evaluation) evaluate(file, subcommand string) error {
	names := starlark.StringDict{
		"TRIGGER_MODE_AUTO":   starlark.MakeInt(0),
		"TRIGGER_MODE_MANUAL": starlark.MakeInt(1),
		"helm":                starlark.NewBuiltin("helm", it.render),
		"read_file":           starlark.NewBuiltin("read_file", it.readFile),
		"decode_yaml_stream":  starlark.NewBuiltin("decode_yaml_stream", decodeYaml),
		"encode_yaml_stream":  starlark.NewBuiltin("encode_yaml_stream", encodeYaml),
		"config": starlarkstruct.FromStringDict(starlark.String("config"), starlark.StringDict{
			"tilt_subcommand": starlark.String(subcommand),
			"define_string":   starlark.NewBuiltin("config.define_string", it.define),
			"parse":           starlark.NewBuiltin("config.parse", it.parse),
		}),
	}
	for name := range documented {
		if !strings.Contains(name, ".") && name != "cmd_button" {
			names[name] = starlark.NewBuiltin(name, it.record)
		}
	}
	// As Tilt sets them.
	options := &syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true}
	thread := &starlark.Thread{Name: "tiltfile", Load: it.load}
	_, err := starlark.ExecFileOptions(options, thread, file, nil, names)
	return err
}

func (it *evaluation) load(_ *starlark.Thread, module string) (starlark.StringDict, error) {
	exported, known := extensions[module]
	if !known {
		return nil, fmt.Errorf("there is no extension %s here", module)
	}
	names := starlark.StringDict{}
	for _, name := range exported {
		names[name] = starlark.NewBuiltin(name, it.record)
	}
	return names, nil
}

// Writes down what a function is called with, and answers that, as something to be given to another one.
func (it *evaluation) record(thread *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	arguments, err := named(fn.Name(), args, kwargs)
	if err != nil {
		return nil, err
	}
	if _, isBlob := arguments["yaml"].(blob); fn.Name() == "k8s_yaml" && !isBlob {
		return nil, fmt.Errorf("k8s_yaml takes what helm, read_file or encode_yaml_stream answer: text would be the name of a file")
	}
	plain := map[string]any{}
	for name, value := range arguments {
		plain[name] = toGo(value)
	}
	it.calls = append(it.calls, call{fn.Name(), plain, thread.CallFrame(1).Pos.Line})
	return starlarkstruct.FromStringDict(starlark.String(fn.Name()), arguments), nil
}

func named(function string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.StringDict, error) {
	parameters := strings.Fields(documented[function])
	if len(args) > len(parameters) {
		return nil, fmt.Errorf("%s takes %d arguments, and is given %d", function, len(parameters), len(args))
	}
	arguments := starlark.StringDict{}
	for i, value := range args {
		arguments[parameters[i]] = value
	}
	for _, pair := range kwargs {
		name := string(pair[0].(starlark.String))
		if !slices.Contains(parameters, name) {
			return nil, fmt.Errorf("%s knows no argument %q", function, name)
		}
		if _, twice := arguments[name]; twice {
			return nil, fmt.Errorf("%s is given %q twice", function, name)
		}
		arguments[name] = pair[1]
	}
	return arguments, nil
}

func (it *evaluation) define(thread *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	arguments, err := named(fn.Name(), args, kwargs)
	if err != nil {
		return nil, err
	}
	name, _ := starlark.AsString(arguments["name"])
	it.defined = append(it.defined, name)
	return starlark.None, nil
}

func (it *evaluation) parse(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	settings := starlark.NewDict(len(it.settings))
	for name, value := range it.settings {
		if !slices.Contains(it.defined, name) {
			return nil, fmt.Errorf("unknown flag: --%s", name)
		}
		if err := settings.SetKey(starlark.String(name), starlark.String(value)); err != nil {
			return nil, err
		}
	}
	return settings, nil
}
