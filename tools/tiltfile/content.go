package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"
	"sigs.k8s.io/yaml"
)

// What commands and files contain: no text to Tilt, for which text is the name of a file.
type blob string

func (it blob) String() string        { return string(it) }
func (it blob) Type() string          { return "blob" }
func (it blob) Freeze()               {}
func (it blob) Truth() starlark.Bool  { return it != "" }
func (it blob) Hash() (uint32, error) { return starlark.String(it).Hash() }

func (it *evaluation) render(_ *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var chart, name, namespace string
	values, set := &starlark.List{}, &starlark.List{}
	if err := starlark.UnpackArgs(fn.Name(), args, kwargs, "pathToChartDir", &chart, "name?", &name, "namespace?", &namespace, "values?", &values, "set?", &set); err != nil {
		return nil, err
	}
	command := []string{"template", name, filepath.Join(it.folder, chart), "--namespace", namespace}
	for value := range values.Elements() {
		file, _ := starlark.AsString(value)
		command = append(command, "--values", filepath.Join(it.folder, file))
	}
	for value := range set.Elements() {
		pair, _ := starlark.AsString(value)
		command = append(command, "--set", pair)
	}
	rendered, err := exec.Command(it.helm, command...).Output()
	if failed := (&exec.ExitError{}); errors.As(err, &failed) {
		return nil, fmt.Errorf("helm %s: %s", strings.Join(command, " "), failed.Stderr)
	}
	return blob(rendered), err
}

func (it *evaluation) readFile(_ *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var path string
	if err := starlark.UnpackArgs(fn.Name(), args, kwargs, "file_path", &path); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(it.folder, path))
	return blob(content), err
}

func decodeYaml(_ *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var given starlark.Value
	if err := starlark.UnpackArgs(fn.Name(), args, kwargs, "yaml", &given); err != nil {
		return nil, err
	}
	text, isText := starlark.AsString(given)
	if content, isBlob := given.(blob); isBlob {
		text, isText = string(content), true
	}
	if !isText {
		return nil, fmt.Errorf("%s takes text, and is given a %s", fn.Name(), given.Type())
	}
	list := starlark.NewList(nil)
	for _, document := range strings.Split("\n"+text, "\n---") {
		var value any
		if err := yaml.Unmarshal([]byte(document), &value); err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if err := list.Append(toStarlark(value)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func encodeYaml(_ *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	objects := &starlark.List{}
	if err := starlark.UnpackArgs(fn.Name(), args, kwargs, "objects", &objects); err != nil {
		return nil, err
	}
	var documents []string
	for object := range objects.Elements() {
		document, err := yaml.Marshal(toGo(object))
		if err != nil {
			return nil, err
		}
		documents = append(documents, string(document))
	}
	return blob(strings.Join(documents, "---\n")), nil
}
