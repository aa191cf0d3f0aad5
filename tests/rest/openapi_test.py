#!/usr/bin/env python3
"""Proves that GET /v1/openapi.json tells the truth: every path and method in it is served and described,
every field in it is one that its handler reads, and real answers, those of jobs too, fit its schemas.
usage: openapi_test.py BIN_DIRECTORY
"""
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "control"))
from instance import InstanceCase

TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict,
         "number": (int, float), "null": type(None)}


class OpenApiTest(InstanceCase):
    pool_bytes = 256 << 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = cls.call("GET", "/v1/openapi.json")[1]

    def misfit(self, schema, value, where="answer"):
        """Why a value does not fit a schema; empty when it does. Knows what the document uses."""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/components/schemas/")
            return self.misfit(self.document["components"]["schemas"][name], value, where)
        kinds = schema.get("type", list(TYPES))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        fits = any(isinstance(value, TYPES[kind]) and
                   not (kind in ("integer", "number") and isinstance(value, bool)) for kind in kinds)
        if not fits:
            return f"{where} is {value!r}, not {kinds}"
        if "enum" in schema and value not in schema["enum"]:
            return f"{where} is {value!r}, none of {schema['enum']}"
        if isinstance(value, list):
            for i, item in enumerate(value):
                if wrong := self.misfit(schema.get("items", {}), item, f"{where}[{i}]"):
                    return wrong
        if isinstance(value, dict):
            members = schema.get("properties", {})
            for name in schema.get("required", ()):
                if name not in value:
                    return f"{where}.{name} is missing"
            for name, item in value.items():
                if name not in members and schema.get("additionalProperties") is False:
                    return f"{where}.{name} is not in the document"
                if wrong := self.misfit(members.get(name, {}), item, f"{where}.{name}"):
                    return wrong
        return ""

    def fits(self, method, path, status, answer):
        answers = self.document["paths"][path][method]["responses"]
        content = answers.get(str(status), answers["default"])["content"]
        schema = next(iter(content.values()))["schema"]
        self.assertEqual(self.misfit(schema, answer), "", f"{method} {path}")

    def filled(self, path):
        names = {"machine": "web", "snapshot": "s", "pool": "main", "volume": "data", "point": "p",
                 "job": "1"}
        return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "none"), path)

    def test_every_route_is_described_and_served(self):
        self.assertEqual(self.document["openapi"], "3.1.0")
        count = 0
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                count += 1
                self.assertTrue(operation["summary"], f"{method} {path} is not described: "
                                "add it to src/api/description.cc")
                told = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
                self.assertEqual(told, re.findall(r"\{(\w+)\}", path))
        self.assertGreater(count, 55)
        # A path with a nonsense word is refused by the route, so it is there; nothing happens.
        for path, methods in self.document["paths"].items():
            for method in methods:
                status, answer = self.call(method.upper(), self.filled(path) + "?no_such_word=1",
                                           {} if method == "post" else None)
                self.assertEqual(status, 400, f"{method} {path}: {answer}")
                self.assertIn("no_such_word", answer["detail"])

    def test_every_field_is_one_that_its_handler_reads(self):
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                if "requestBody" not in operation:
                    continue
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                words = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
                body = {name: self.example(field) for name, field in schema["properties"].items()}
                target = re.sub(r"\{\w+\}", "none", path) + ("?plan=true" if "plan" in words else "")
                status, answer = self.call(method.upper(), target, body)
                self.assertNotIn("unknown field", str(answer), f"{method} {path}")
                self.assertTrue(status < 500, f"{method} {path}: {answer}")

    def example(self, field):
        if field["type"] == "object":
            return {name: self.example(inner) for name, inner in field.get("properties", {}).items()}
        return {"string": field.get("enum", ["/x"])[-1], "integer": 512, "boolean": True,
                "array": []}.get(field["type"])

    def test_real_answers_fit(self):
        def done(method, path, body=None):
            status, answer = self.call(method, self.filled(path) + "?wait=true", body)
            self.assertEqual(status, 200, answer)
            self.fits(method.lower(), path, 200, answer)
        machine, snapshot = "/v1/machines/{machine}", "/v1/machines/{machine}/snapshots/{snapshot}"
        done("POST", "/v1/machines", {"name": "web", "memory_bytes": 64 << 20,
                                      "disks": [{"size_bytes": 4 << 20}]})
        done("POST", machine + "/snapshots", {"name": "s", "tags": ["a"]})
        done("POST", machine + "/snapshots", {"name": "t"})
        done("POST", snapshot + "/pin", {"reason": "because"})
        done("POST", snapshot + "/unpin", {})
        done("POST", machine + "/quota", {"snapshots": 9})
        done("POST", machine + "/delete-snapshots", {"snapshots": ["t"]})
        done("POST", snapshot + "/return", {})
        done("POST", "/v1/volumes", {"name": "data", "size_bytes": 1 << 20})
        done("POST", "/v1/volumes/{volume}/snapshot", {"name": "p"})
        done("POST", "/v1/pools/{pool}/check", {})
        plan = self.call("POST", "/v1/machines/web/snapshots/s/return?plan=true", {})[1]
        self.assertEqual(self.misfit({"$ref": "#/components/schemas/Plan"}, plan), "")
        refused = self.call("POST", "/v1/machines/web/start", {"paused": "?"})
        self.fits("post", machine + "/start", *refused)
        status, job = self.call("POST", "/v1/machines/web/quota", {"snapshots": 8})
        self.fits("post", machine + "/quota", status, job)
        count = 0
        for path, methods in self.document["paths"].items():
            if "get" not in methods or path in ("/v1/events", "/metrics"):
                continue
            if path.endswith(("/files", "/content")):  # files.files: they need a file system
                continue
            query = {"/v1/machines/{machine}/diff": "?from=s",
                     "/v1/volumes/{volume}/diff": "?base_volume=data&base_point=p"}.get(path, "")
            if "{" in path and "none" in self.filled(path):
                continue
            status, answer = self.call("GET", self.filled(path) + query)
            self.assertEqual(status, 200, f"GET {path}: {answer}")
            self.fits("get", path, status, answer)
            count += 1
        self.assertGreater(count, 15)


if __name__ == "__main__":
    unittest.main()
