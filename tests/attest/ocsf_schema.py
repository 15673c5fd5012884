"""A validator over the published OCSF schema files, as far as they are at hand.

The files are the schema's sources, so inheritance (`extends`), `$include` of profiles, merged
enums and constraints are resolved here. Objects that are not among the files have their required
attributes written down below. Attribute types are those of the schema's dictionary.

Source: OCSF, "Understanding OCSF", sections on extending classes and on profiles.
"""

import json
from pathlib import Path

REQUIRED_ELSEWHERE = {
    "metadata": {"product", "version"},
    "product": {"name"},
    "api": {"operation"},
    "request": {"uid"},
    "http_request": {"url"},
    "http_response": {"code"},
    "fingerprint": {"algorithm_id", "value"},
}
AT_LEAST_ONE_ELSEWHERE = {
    "actor": {"process", "user", "session", "app_name", "app_uid"},
    "network_endpoint": {"ip", "uid", "name", "hostname", "svc_name", "instance_uid"},
    "service": {"name", "uid"},
    "user": {"name", "uid"},
}
OBJECTS = {
    "actor": "actor",
    "ai_model": "ai_model",
    "api": "api",
    "attestation_list": "attestation",
    "dst_endpoint": "network_endpoint",
    "fingerprint": "fingerprint",
    "http_request": "http_request",
    "http_response": "http_response",
    "message_context": "message_context",
    "metadata": "metadata",
    "product": "product",
    "raw_data_hash": "fingerprint",
    "request": "request",
    "response": "response",
    "service": "service",
    "src_endpoint": "network_endpoint",
    "user": "user",
}
"""Attributes of the dictionary that hold objects, with the object's name."""
ARRAYS = {"attestation_list", "profiles"}
INTEGERS = {
    "activity_id",
    "ai_role_id",
    "algorithm_id",
    "category_uid",
    "class_uid",
    "code",
    "completion_tokens",
    "length",
    "prompt_tokens",
    "raw_data_size",
    "sequence",
    "severity_id",
    "status_id",
    "time",
    "total_tokens",
    "type_uid",
}
SEVERITIES = {"0", "1", "2", "3", "4", "5", "6", "99"}
"""The dictionary's enum of `severity_id`; base_event.json refers to it."""
EXTENSIBLE = {"unmapped"}


class Schema:
    """The schema files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.version = self._read("version.json")["version"]
        self.profiles: set[str] = set()
        self._event = self._resolved("events/application/api_activity.json")
        application = self._read("events/application/application.json")
        activity = self._read("events/application/api_activity.json")
        self.caption = activity["caption"]
        self.class_uid = 6_000 + activity["uid"]
        self.is_application = application["category"] == "application"

    def problems(self, event: dict) -> list[str]:
        """Return what is wrong with an event; empty for a valid one."""
        found = self._class_problems(event)
        found += self._object_problems("event", event, self._event)
        found += self._enum_problems(event)
        return found

    def _class_problems(self, event: dict) -> list[str]:
        found = []
        if event.get("class_uid") != self.class_uid or event.get("class_name") != self.caption:
            found.append("not of this class")
        if event.get("type_uid") != self.class_uid * 100 + event.get("activity_id", -1):
            found.append("type_uid is not class_uid * 100 + activity_id")
        if event.get("category_uid") != 6 or not self.is_application:
            found.append("not of the category Application Activity")
        metadata = event.get("metadata", {})
        if metadata.get("version") != self.version:
            found.append("metadata.version is not the schema's")
        if not set(metadata.get("profiles", ())) <= self.profiles:
            found.append("a profile that this class does not take")
        return found

    def _enum_problems(self, event: dict) -> list[str]:
        found = []
        for name in ("activity_id", "status_id"):
            enum = self._event[name].get("enum", {})
            allowed = {*enum, "0", "99"}
            if name in event and str(event[name]) not in allowed:
                found.append(f"{name} is none of the enum")
        for name, label in (("activity_id", "activity_name"), ("status_id", "status")):
            caption = self._event[name]["enum"].get(str(event.get(name)), {}).get("caption")
            is_named = caption in (None, "Other", "Unknown")
            if not is_named and event.get(label) != caption:
                found.append(f"{label} is not the caption of {name}")
        if str(event.get("severity_id")) not in SEVERITIES:
            found.append("severity_id is none of the enum")
        return found

    def _object_problems(self, path: str, value: dict, attributes: dict) -> list[str]:
        found = [
            f"{path}.{name} is required"
            for name, attribute in attributes.items()
            if attribute.get("requirement") == "required" and name not in value
        ]
        for name, item in value.items():
            if name not in attributes:
                found.append(f"{path}.{name} is not an attribute")
            else:
                found += self._attribute_problems(f"{path}.{name}", name, item)
        return found

    def _attribute_problems(self, path: str, name: str, value: object) -> list[str]:
        if name in ARRAYS:
            if not isinstance(value, list):
                return [f"{path} is not an array"]
            items = value
        else:
            items = [value]
        found = []
        for item in items:
            if name in OBJECTS:
                found += self._nested_problems(path, OBJECTS[name], item)
            elif name in INTEGERS:
                if type(item) is not int:
                    found.append(f"{path} is not an integer")
            elif name not in EXTENSIBLE and type(item) not in (str, dict):
                found.append(f"{path} is not a text")
        return found

    def _nested_problems(self, path: str, name: str, value: object) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path} is not an object"]
        if (self._folder / "objects" / f"{name}.json").is_file():
            document = self._read(f"objects/{name}.json")
            found = self._object_problems(path, value, document["attributes"])
            one_of = set(document.get("constraints", {}).get("at_least_one", ()))
            for key, attribute in document["attributes"].items():
                if (
                    "enum" in attribute
                    and key in value
                    and str(value[key]) not in attribute["enum"]
                ):
                    found.append(f"{path}.{key} is none of the enum")
        else:
            found = [
                f"{path}.{key} is required"
                for key in sorted(REQUIRED_ELSEWHERE.get(name, set()) - set(value))
            ]
            for key, item in value.items():
                found += self._attribute_problems(f"{path}.{key}", key, item)
            one_of = AT_LEAST_ONE_ELSEWHERE.get(name, set())
        if one_of and not one_of & set(value):
            found.append(f"{path} needs one of {sorted(one_of)}")
        return found

    def _resolved(self, path: str) -> dict:
        """Return the attributes of a class with those that it inherits and includes."""
        document = self._read(path)
        parents = {
            "application": "events/application/application.json",
            "base_event": "events/base_event.json",
        }
        attributes: dict = {}
        if "extends" in document:
            attributes = self._resolved(parents[document["extends"]])
        self.profiles.update(document.get("profiles", ()))
        for included in document["attributes"].get("$include", ()):
            if (self._folder / included).is_file():
                attributes.update(self._read(included)["attributes"])
        for name, attribute in document["attributes"].items():
            if name == "$include":
                continue
            merged = {**attributes.get(name, {}), **attribute}
            enum = {**attributes.get(name, {}).get("enum", {}), **attribute.get("enum", {})}
            attributes[name] = {**merged, "enum": enum} if enum else merged
        return attributes

    def _read(self, path: str) -> dict:
        return json.loads((self._folder / path).read_text(encoding="utf-8"))
