package main

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

func toGo(value starlark.Value) any {
	switch it := value.(type) {
	case starlark.NoneType:
		return nil
	case starlark.Bool:
		return bool(it)
	case starlark.String:
		return string(it)
	case blob:
		return string(it)
	case starlark.Int:
		number, _ := it.Int64()
		return number
	case starlark.Float:
		return float64(it)
	case *starlark.Dict:
		object := map[string]any{}
		for _, pair := range it.Items() {
			key, _ := starlark.AsString(pair[0])
			object[key] = toGo(pair[1])
		}
		return object
	case *starlarkstruct.Struct:
		object := map[string]any{}
		for _, name := range it.AttrNames() {
			attribute, _ := it.Attr(name)
			object[name] = toGo(attribute)
		}
		return object
	case starlark.Iterable:
		list := []any{}
		for element := range starlark.Elements(it) {
			list = append(list, toGo(element))
		}
		return list
	}
	return value.String()
}

func toStarlark(value any) starlark.Value {
	switch it := value.(type) {
	case bool:
		return starlark.Bool(it)
	case string:
		return starlark.String(it)
	case float64:
		if it == float64(int64(it)) {
			return starlark.MakeInt64(int64(it))
		}
		return starlark.Float(it)
	case []any:
		list := starlark.NewList(nil)
		for _, element := range it {
			_ = list.Append(toStarlark(element))
		}
		return list
	case map[string]any:
		dict := starlark.NewDict(len(it))
		for key, element := range it {
			_ = dict.SetKey(starlark.String(key), toStarlark(element))
		}
		return dict
	}
	return starlark.None
}
