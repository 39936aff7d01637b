#!/usr/bin/env python3
"""Asks independent engines what the programs of the corpus do.

Every program is run by Wasmtime (`pip install wasmtime`), its C source is
built and run natively (gcc), and functions without parameters are also run by
wabt's wasm-interp where it is installed. Legacy exceptions, which Wasmtime does
not have, are run by V8 (`node`) instead. All must agree with the manifest.

    witness.py [NAME...]    compares; exit code 1 if anything differs
    witness.py --bless      writes results, outputs and instruction counts
                            into the manifest, from Wasmtime; the other
                            engines still have to agree
    witness.py --list       a table of the programs
"""
import ctypes
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent
MANIFEST = ROOT / "manifest.json"
FUEL = 2_000_000_000
QUICK = 200_000

# Wasmtime's trap codes in the specification's words. It has one code for every
# access beyond a table and for every null, the specification several texts.
TRAPS = {
    "UNREACHABLE": {"unreachable"},
    "MEMORY_OUT_OF_BOUNDS": {"out of bounds memory access"},
    "TABLE_OUT_OF_BOUNDS": {"out of bounds table access", "undefined element"},
    "INDIRECT_CALL_TO_NULL": {"uninitialized element"},
    "BAD_SIGNATURE": {"indirect call type mismatch"},
    "INTEGER_DIVISION_BY_ZERO": {"integer divide by zero"},
    "INTEGER_OVERFLOW": {"integer overflow"},
    "BAD_CONVERSION_TO_INTEGER": {"invalid conversion to integer"},
    "STACK_OVERFLOW": {"call stack exhausted"},
    "HEAP_MISALIGNED": {"unaligned atomic"},
    "ATOMIC_WAIT_NON_SHARED_MEMORY": {"expected shared memory"},
    "NULL_REFERENCE": {"null reference", "null function reference", "null exception reference"},
}
FORMATS = {"i32": "<i", "i64": "<q", "f32": "<f", "f64": "<d"}


def to_python(text):
    """A manifest's value as a Python number."""
    kind, number = text.split(":", 1)
    if number == "null":
        return None
    if number.startswith("0x"):
        width = struct.calcsize(FORMATS[kind])
        return struct.unpack(FORMATS[kind], int(number, 16).to_bytes(width, "little"))[0]
    return float(number) if kind in ("f32", "f64") else int(number)


def from_python(kind, number):
    """The manifest's notation: integers in decimal, floats as bits."""
    if kind in ("i32", "i64"):
        return f"{kind}:{number}"
    bits = int.from_bytes(struct.pack(FORMATS[kind], number), "little")
    return f"{kind}:0x{bits:0{2 * struct.calcsize(FORMATS[kind])}x}"


def fresh_dirs(program, under):
    """Host directories for the guest's, each a copy of what it is given."""
    dirs = {}
    for index, entry in enumerate(program.get("dirs", [])):
        host = pathlib.Path(under) / f"dir{index}"
        if entry.get("from"):
            shutil.copytree(ROOT / entry["from"], host)
        else:
            host.mkdir()
        dirs[entry["guest"]] = str(host)
    return dirs


def run_wasmtime(program):
    """What Wasmtime sees: a dictionary of outcome, stdout, instructions."""
    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    config.wasm_reference_types = True
    config.wasm_function_references = True
    config.wasm_multi_memory = True
    config.wasm_memory64 = True
    config.wasm_custom_page_sizes = True
    config.wasm_wide_arithmetic = True
    config.wasm_threads = True
    config.shared_memory = True
    config.wasm_tail_call = True
    config.wasm_exceptions = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    store.set_fuel(FUEL)
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "stdout"
        wasi = wasmtime.WasiConfig()
        wasi.argv = [pathlib.Path(program["wasm"]).name, *program.get("args", [])]
        wasi.env = [entry.split("=", 1) for entry in program.get("env", [])]
        stdin = pathlib.Path(scratch) / "stdin"
        given = program.get("stdin")
        stdin.write_bytes((ROOT / given).read_bytes() if given else b"")
        wasi.stdin_file = str(stdin)
        wasi.stdout_file = str(out)
        wasi.stderr_file = str(pathlib.Path(scratch) / "stderr")
        for guest, host in fresh_dirs(program, scratch).items():
            wasi.preopen_dir(host, guest)
        store.set_wasi(wasi)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        outcome = {}
        try:
            module = wasmtime.Module.from_file(engine, str(ROOT / program["wasm"]))
            instance = linker.instantiate(store, module)
            invoke = program.get("invoke")
            function = instance.exports(store)[invoke["function"] if invoke else "_start"]
            results = function(store, *map(to_python, invoke["params"] if invoke else []))
            if invoke:
                kinds = [str(kind) for kind in function.type(store).results]
                if len(kinds) < 2:
                    results = [results][: len(kinds)]
                outcome["results"] = [from_python(k, r) for k, r in zip(kinds, results)]
            else:
                outcome["exit_code"] = 0
        except wasmtime.ExitTrap as exit_trap:
            outcome["exit_code"] = exit_trap.code
        except wasmtime.Trap as trap:
            if "thrown Wasm exception" in str(trap):
                outcome["trap"] = {"uncaught exception"}
            else:
                code = trap.trap_code.name
                outcome["trap"] = TRAPS.get(code, {code})
        del wasi, linker
        outcome["stdout"] = out.read_bytes() if out.exists() else b""
        outcome["instructions"] = FUEL - store.get_fuel()
        if "call stack exhausted" in outcome.get("trap", ()):
            outcome["instructions"] = None
        return outcome


NODE = """
const [file, name] = process.argv.slice(1);
const bytes = require("fs").readFileSync(file);
const {exports} = new WebAssembly.Instance(new WebAssembly.Module(bytes));
try { const found = exports[name](); console.log(typeof found, String(found)); }
catch (e) { if (!(e instanceof WebAssembly.Exception)) throw e; console.log("threw"); }
"""


def run_node(program):
    """A function without parameters and with one integer result, in V8."""
    command = ["node", "-e", NODE, str(ROOT / program["wasm"]), program["invoke"]["function"]]
    words = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    if words == ["threw"]:
        return {"trap": {"uncaught exception"}, "instructions": None}
    kind = {"bigint": "i64", "number": "i32"}[words[0]]
    return {"results": [f"{kind}:{words[1]}"], "instructions": None}


def run_native(program):
    """The same source as a native program; None where there is none."""
    source = ROOT / program["source"]
    if source.suffix != ".c" or not shutil.which("gcc"):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        binary = pathlib.Path(scratch) / "native"
        command = ["gcc", "-O1", "-w", "-ffp-contract=off", "-o", binary, source, "-lm"]
        invoke = program.get("invoke")
        if invoke:
            # The result's type is the manifest's: C has no way to ask for it.
            subprocess.run([*command, "-shared", "-fPIC"], check=True)
            function = getattr(ctypes.CDLL(str(binary)), invoke["function"])
            function.restype = ctypes.c_double
            result = function(*map(to_python, invoke["params"]))
            return {"results": [from_python("f64", result)], "stdout": b""}
        subprocess.run(command, check=True)
        dirs = fresh_dirs(program, scratch)
        given = program.get("stdin")
        done = subprocess.run(
            [
                pathlib.Path(program["wasm"]).name,
                *(dirs.get(arg, arg) for arg in program.get("args", [])),
            ],
            executable=binary,
            env=dict(entry.split("=", 1) for entry in program.get("env", [])),
            input=(ROOT / given).read_bytes() if given else b"",
            capture_output=True,
            timeout=60,
        )
        outcome = {"stdout": done.stdout}
        if done.returncode < 0:
            outcome["trap"] = {"unreachable"}  # abort() is a signal here
        else:
            outcome["exit_code"] = done.returncode
        return outcome


def run_wabt(program):
    """wasm-interp, for a function without parameters; None elsewhere."""
    invoke = program.get("invoke")
    if not invoke or invoke["params"] or invoke["function"] != "run" or not shutil.which("wasm-interp"):
        return None
    done = subprocess.run(
        ["wasm-interp", ROOT / program["wasm"], "--run-all-exports"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    text = done.stdout + done.stderr
    found = re.search(r"^run\(\) => (.*)$", text, re.M)
    failed = re.search(r"^error initializing module: (.*)$", text, re.M)
    if failed:
        return {"trap text": failed.group(1)}
    if found is None and re.search(r"^[0-9a-f]+: error: ", text, re.M):
        return None  # it does not read what the module uses
    if found is None:
        return {"text": text.strip().splitlines()[-1:]}
    answer = found.group(1)
    if answer.startswith("error: "):
        return {"trap text": answer[len("error: "):]}
    results = []
    for item in filter(None, answer.split(", ")):
        kind, number = item.split(":", 1)
        if kind not in ("i32", "i64"):
            return None  # printed in decimal, which loses bits
        width = struct.calcsize(FORMATS[kind])
        results.append(f"{kind}:{struct.unpack(FORMATS[kind], int(number).to_bytes(width, 'little'))[0]}")
    return {"results": results}


def differences(program, engine, outcome):
    """Where an engine's outcome is not what the manifest expects."""
    expected = program["expected"]
    if "trap" in expected:
        if "trap text" in outcome:
            # wabt words its traps in its own way: that it traps has to do.
            return
        if expected["trap"] not in outcome.get("trap", ()):
            yield f"{engine}: expected trap `{expected['trap']}`, got {outcome}"
    else:
        for key in ("exit_code", "results"):
            if key in expected and expected[key] != outcome.get(key):
                yield f"{engine}: expected {key} {expected[key]}, got {outcome}"
    if "stdout" in outcome:
        file = program.get("stdout")
        path = ROOT / file if file else None
        wanted = path.read_bytes() if path and path.exists() else b""
        if outcome["stdout"] != wanted:
            yield f"{engine}: stdout differs: expected {wanted!r}, got {outcome['stdout']!r}"


def bless(program, outcome):
    """Takes over what Wasmtime saw; how the program ends is not taken over."""
    if "results" in program["expected"]:
        program["expected"]["results"] = outcome["results"]
    if outcome["instructions"] is None:
        program.pop("instructions", None)
    else:
        program["instructions"] = outcome["instructions"]
    if program.get("stdout"):
        (ROOT / program["stdout"]).write_bytes(outcome["stdout"])


def write(programs):
    """One key a line, so that a change shows as one line."""
    blocks = []
    for program in programs:
        lines = [f"    {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in program.items()]
        blocks.append("  {\n" + ",\n".join(lines) + "\n  }")
    MANIFEST.write_text("[\n" + ",\n".join(blocks) + "\n]\n")


def main():
    programs = json.loads(MANIFEST.read_text())
    arguments = sys.argv[1:]
    if "--list" in arguments:
        for program in programs:
            count = program.get("instructions")
            mark = "quick" if count is not None and count <= QUICK else ""
            print(f"{program['name']:38} {count if count is not None else '-':>9} {mark:5} {program['exercises']}")
        return 0
    blessing = "--bless" in arguments
    names = [argument for argument in arguments if not argument.startswith("-")]
    chosen = [p for p in programs if not names or p["name"] in names]
    failures = 0
    asked = {"wasmtime": 0, "node": 0, "native": 0, "wabt": 0}
    for program in chosen:
        legacy = program["name"].startswith("legacy-")
        first = "node" if legacy else "wasmtime"
        seen = run_node(program) if legacy else run_wasmtime(program)
        if blessing:
            bless(program, seen)
        for engine, outcome in ((first, seen), ("native", run_native(program)), ("wabt", run_wabt(program))):
            if outcome is None:
                continue
            asked[engine] += 1
            for difference in differences(program, engine, outcome):
                failures += 1
                print(f"{program['name']}: {difference}")
    if blessing:
        write(programs)
    print(f"{len(chosen)} programs, {failures} differences; asked: {asked}")
    for tool in ("gcc", "wasm-interp", "node"):
        if not shutil.which(tool):
            print(f"WARNING: {tool} is missing, one witness less")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
