"""The rules of this tree as data. ARCHITECTURE.md says the same in words: change both."""

# A zone is a folder, or a named part of one. Files belong to the first zone whose pattern matches.
# (zone, path patterns, zones it may include)
ENGINE_ALL = ["engine/types", "engine/tensor", "engine/text", "engine/calibrate", "engine/backend",
              "engine/model", "engine/method", "engine/format", "engine/evaluate", "engine/gguf",
              "engine/gguf_source", "engine/rotated_source"]

ZONES = [
    ("base", ["base/*"], []),
    ("blob", ["blob/*"], ["base"]),
    # What every folder of the engine shares: plain data, the model's shape included.
    ("engine/types", ["engine/types/*"], ["base", "engine/tensor"]),
    ("engine/tensor", ["engine/tensor/*"], ["base", "blob"]),
    ("engine/text", ["engine/text/*"], ["base", "engine/tensor"]),
    ("engine/calibrate", ["engine/calibrate/*"],
     ["base", "engine/types", "engine/tensor", "engine/backend", "engine/model"]),
    ("engine/backend", ["engine/backend/*"], ["base", "engine/types", "engine/tensor"]),
    ("engine/model", ["engine/model/*"],
     ["base", "engine/types", "engine/tensor", "engine/backend"]),
    ("engine/method", ["engine/method/*"],
     ["base", "engine/types", "engine/tensor", "engine/calibrate", "engine/backend",
      "engine/gguf"]),
    ("engine/format", ["engine/format/*"],
     ["base", "engine/types", "engine/tensor", "engine/backend", "engine/gguf"]),
    ("engine/evaluate", ["engine/evaluate/*"],
     ["base", "engine/types", "engine/tensor", "engine/backend", "engine/model"]),
    ("engine/analysis", ["engine/analysis/*"],
     ["base", "engine/types", "engine/tensor", "engine/backend"]),
    ("engine/flags", ["engine/flags/*"], ["base", "engine/types"]),
    ("engine/report_page", ["engine/report_page/*"], ["base", "engine/types"]),
    # What a server may know of the engine: it plans and lists, it never quantizes.
    ("engine/plan", ["engine/plan/*"], ["base"] + ENGINE_ALL),
    ("engine/artifact", ["engine/artifact/*"],
     ["base", "engine/plan", "engine/report_page"] + ENGINE_ALL),
    ("engine/block", ["engine/block/*"],
     ["base", "engine/plan", "engine/artifact", "engine/analysis"] + ENGINE_ALL),
    ("engine/run", ["engine/run/*"],
     ["base", "engine/plan", "engine/artifact", "engine/block"] + ENGINE_ALL),
    ("engine/budget", ["engine/budget/*"],
     ["base", "engine/plan", "engine/block", "engine/run"] + ENGINE_ALL),
    # Looks into models; computes nothing.
    ("engine/inspect", ["engine/inspect/*"],
     ["base", "engine/types", "engine/tensor", "engine/model", "engine/format", "engine/gguf"]),
    ("engine/convert", ["engine/convert/*"],
     ["base", "engine/types", "engine/tensor", "engine/model", "engine/format",
      "engine/inspect"]),
    ("engine/gguf", ["engine/gguf/*"],
     ["base", "engine/types", "engine/tensor", "engine/backend"]),
    # GGUF as Hugging Face's files.
    ("engine/gguf_source", ["engine/gguf_source/*"],
     ["base", "engine/types", "engine/tensor", "engine/model", "engine/gguf"]),
    ("engine/rotated_source", ["engine/rotated_source/*"],
     ["base", "engine/types", "engine/tensor", "engine/model"]),
    ("terminal", ["terminal/*"], ["base", "engine/types"]),
    ("proto", ["proto/*"], ["base", "engine/types", "engine/plan", "engine/model",
                            "engine/method", "engine/format", "engine/backend"]),
    # Plain structs that store, scheduler and api share.
    ("server/types", ["server/job.*", "server/limits.*", "server/caller.*", "server/upload.h",
                      "server/id.*"], ["base"]),
    ("server/store", ["server/store/*"], ["base", "server/types"]),
    ("server/scheduler", ["server/scheduler/*"], ["base", "server/types", "server/store"]),
    ("server/access", ["server/access/*"], ["base", "server/types", "server/store"]),
    ("server/api", ["server/api/*"],
     ["base", "blob", "proto", "server/types", "server/store", "server/scheduler",
      "server/access", "server",
      "engine/plan"] + ENGINE_ALL),
    ("server/main", ["server/main.cc"],
     ["base", "blob", "server/types", "server/store", "server/scheduler", "server/access",
      "server/api", "server"]),
    # Between the store and the wire.
    ("server", ["server/*"],
     ["base", "blob", "server/types", "server/store", "server/scheduler", "server/access",
      "engine/plan"]
     + ENGINE_ALL),
    ("worker/command", ["worker/command.h", "worker/agent_command.h"], ["base"]),
    ("worker/agent", ["worker/agent/*"],
     ["base", "blob", "proto", "worker/command", "worker/runner", "engine/types",
      "engine/backend"]),
    ("worker/runner", ["worker/runner/*"],
     ["base", "worker/command", "engine/run", "engine/budget", "engine/plan", "engine/flags",
      "engine/inspect", "terminal"]
     + ENGINE_ALL),
    ("worker", ["worker/*"],
     ["base", "blob", "worker/command", "worker/agent", "worker/runner", "engine/run",
      "engine/budget",
      "engine/plan", "engine/flags", "terminal"] + ENGINE_ALL),
    ("client", ["client/*"],
     ["base", "proto", "terminal", "engine/flags", "engine/types", "engine/inspect",
      "engine/convert"]),
]

# (headers in <> or "", zones that may include them). Tests may include anything.
HEADERS = [
    (["*.pb.h", "*.grpc.pb.h", "grpc/*", "grpcpp/*", "grpc*", "google/protobuf/*"],
     ["proto", "server/api", "worker/agent", "client"]),
    (["sqlite3.h", "pqxx/*", "libpq-fe.h"], ["server/store"]),
    (["curl/*", "pugixml*"], ["blob"]),
    (["dnnl*", "oneapi/*"], ["engine/backend"]),
    (["prometheus/*"], ["server", "server/api", "server/main"]),
    (["yaml-cpp/*"], ["engine/types", "server", "server/main", "worker", "client"]),
    (["openssl/*"], ["base"]),
    (["re2/*"], ["engine/inspect"]),
    (["CLI/*"], ["engine/flags", "server", "server/main", "worker", "worker/command",
                 "worker/agent", "worker/runner", "client"]),
]

# Libraries that stand for a zone other than their folder's.
LIBRARY_ZONES = {"server_model": "server/types"}

# SQL in string literals, and who may have it.
SQL_ZONES = ["server/store"]

# Folders whose own level holds no source: everything lies in a folder below that says what it is.
NO_LOOSE_FILES = ["engine"]

FILE_LINES = 500
FUNCTION_LINES = 70
COLUMNS = 100
BANNED_WORDS = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"}

# Folders whose source needs no README of its own: they are described by the folder above.
README_FROM_ABOVE = ["cmake", ".ci", "engine/backend/cpu", "engine/text/tokenizers_bridge",
                     "client/python/quantd/v1", "examples/pipelines/airflow/dags",
                     "tests/base", "tests/blob",
                     "tests/engine", "tests/proto", "tests/terminal", "tests/server",
                     "tests/worker", "tests/client"]
