# Run by gdb: opens cores one after the other and writes what gdb makes of
# each, frame by frame, as JSON. Values are the raw bits ("z": hexadecimal, all
# digits, no conversion), null where gdb says <optimized out>.
import gdb
import json


def values(frame):
    found = {}
    for symbol in frame.block():
        if symbol.is_argument or symbol.is_variable:
            value = symbol.value(frame)
            bits = None if value.is_optimized_out else value.format_string(format="z")
            found[symbol.name] = bits
    return found


def frames(most):
    frame = gdb.newest_frame()
    found = []
    while frame is not None:
        sal = frame.find_sal()
        found.append({
            "name": frame.name(),
            "pc": frame.pc(),
            "file": sal.symtab.fullname() if sal.symtab else None,
            "line": sal.line,
            "values": values(frame) if len(found) < most else None,
        })
        last, frame = frame, frame.older()
    return found, gdb.frame_stop_reason_string(last.unwind_stop_reason())


def main():
    with open(job_file) as file:
        job = json.load(file)
    gdb.execute("set backtrace past-main on")
    gdb.execute("file " + job["image"])
    seen = []
    for core in job["cores"]:
        gdb.execute("core-file " + core, to_string=True)
        stack, end = frames(job["frames"])
        seen.append({"frames": stack, "end": end})
    with open(job["answer"], "w") as file:
        json.dump(seen, file)


main()
