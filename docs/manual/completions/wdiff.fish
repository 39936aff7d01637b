# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wdiff_global_optspecs
    string join \n h/help V/version
end

function __fish_wdiff_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wdiff_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wdiff_using_subcommand
    set -l cmd (__fish_wdiff_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wdiff -n "__fish_wdiff_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_needs_command" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "run" -d 'Run a program natively under the tracer and compare every stop with the oracle'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "compile" -d 'Compile a program into an image: native code, DWARF and map in one ELF file'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "map" -d 'Print or check the map of an image'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "wast" -d 'Run scripts of the specification\'s test suite'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "selftest" -d 'Put faults into programs and see whether they are caught'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "fuzz" -d 'Run generated modules in lockstep'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "gate" -d 'Run many programs in many configurations, against a baseline'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "report" -d 'Work with reports'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "explain" -d 'Say what a name in a report means: a kind of divergence, a reason, a rule'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "manual" -d 'Write man pages and shell completions'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "migrate" -d 'Hand a program from one executor to the next and compare at every hand-over'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "bisect" -d 'Find where a divergence comes from, and make a small script that shows it'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "snapshot" -d 'Look at snapshots'
complete -c wdiff -n "__fish_wdiff_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l break -d 'Stop only at stable points (`stable`), in a function (`FUNC`) or at an instruction (`FUNC:OFFSET`)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l engine -d 'How the subject is halted: int3, probe, rsp' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l compare -d 'Which slots are compared: full, changed' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l sample -d 'Compare only every Nth boundary' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l from-boundary -d 'Begin comparing at the Nth executed boundary' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l invoke -d 'Call this export instead of `_start`; ARGS are its parameters' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l dir -d 'Give the program a host directory under a guest path' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l env -d 'Set an environment variable of the program' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l stdin -d 'Standard input of the program (default: inherited; in a self-test empty)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l record -d 'Write the operation log of all host calls' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l replay -d 'Answer host calls from an operation log' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l max-stops -d 'End, inconclusive, after this many stops' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l timeout -d 'End, inconclusive, after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l core -d 'Write an ELF core of the subject at the boundary named by --at' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l at -d 'The boundary for --core, `#N` its Nth execution (default the first)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l inject -d 'Inject a fault: code:FUNC:OFFSET:KIND, every:INSTRUCTION:KIND, map:FUNC:OFFSET:SLOT, label:FUNC:OFFSET:SLOT, boundary:FUNC:OFFSET:KIND, frame:FUNC:OFFSET:cfa, stable:FUNC:OFFSET:KIND or instantiate:NUMBER:KIND' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l opt-of -d 'Compile one function at another level: none, speed, speed_and_size' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l break-every-insn -d 'Stop at every boundary (the default)'
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l paranoid -d 'Run the cold paths of stable points too, and compare what they store'
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -l functions -d 'Add to the report what is available function by function (always in HTML)'
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand run" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -s o -l output -d 'The image to write; its listing goes beside it as IMAGE.lst' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l inject -d 'Put a fault into the image, as `run --inject` does' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l opt-of -d 'Compile one function at another level: none, speed, speed_and_size' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l compress-debug-sections -d 'How map and debug information are stored in the image' -r -f -a "none\t'As they are'
zlib\t'Compressed, as ELF has it for all to read'"
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand compile" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l func -d 'Print the map of one function, `#N` or a name' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -l check -d 'Check the map against the code, the CFI and the DWARF'
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand map" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l standard -d 'Version of WebAssembly that the scripts were written for: what later versions allow is then counted apart where a script calls it invalid' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l engine -d 'How the subject is halted: int3, probe, rsp' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l compare -d 'Which slots are compared: full, changed' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l max-stops -d 'End a script, inconclusive, after this many stops' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l timeout -d 'End, inconclusive, after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l inject -d 'Inject a fault into an instance: INSTANCE@ and what `wdiff run --inject` takes' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l oracle-only -d 'Run them on the oracle alone'
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l paranoid -d 'Run the cold paths of stable points too, and compare what they store'
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l restore -d 'At each stable point capture the program\'s state, destroy it, restore it from a snapshot, and compare (needs --stable); a point executed over 512 times only at every so many'
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -l functions -d 'Add to the report what is available function by function (always in HTML)'
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand wast" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l invoke -d 'Call this export instead of `_start`; ARGS are its parameters' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l dir -d 'Give the program a host directory under a guest path' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l env -d 'Set an environment variable of the program' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l stdin -d 'Standard input of the program (default: inherited; in a self-test empty)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l seed -d 'What the faults are drawn by' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l count -d 'How many faults of the code, and how many of the map' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l fault -d 'Put this one in, as `wdiff run --inject` takes it, instead of any that are drawn' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand selftest" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l seed -d 'The first seed; each module has the next one' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l count -d 'How many seeds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l opt -d 'Optimisation level (default: drawn for each module)' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l anchors -d 'Where stops are anchored: trap, srcloc (default: drawn for each module)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l cpu -d 'CPU features as for `run` (default: drawn for each module)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l stable -d 'Stable points as for `run` (default: drawn for each module); where there are some, half of the modules run with --paranoid' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l source -d 'Where modules come from (default: drawn for each)' -r -f -a "smith\t'Generated by wasm-smith'
pressure\t'Generated with many values alive at a time, and loops'
corpus\t'Programs of the corpus with some instructions exchanged'"
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l chaos -d 'Cranelift\'s chaos mode, which builds with the cargo feature `chaos` have (default: drawn for each module where it is there)' -r -f -a "off\t'As Cranelift is used'
on\t'Choices of chance'"
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l jobs -d 'How many modules are worked on at a time (default: as many as there are CPUs, at most 8)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l state -d 'Write down in this file how far it is, and go on from there if it exists' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l timeout -d 'End after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -l failures -d 'Directory for modules with which something is wrong, made when needed' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand fuzz" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l baseline -d 'Fail on whatever is worse than in this file' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l shard -d 'Run every Nth job only, from the Ith; `wdiff report merge` puts the reports together' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l jobs -d 'Programs at a time (default: one for each CPU)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l time-budget -d 'Run no more after this many seconds; what is left is reported as not run' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l max-code-growth -d 'Per cent by which a program\'s code may grow (default: that of the baseline; 2 in a new one)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l max-compile-growth -d 'Per cent by which compiling may take longer (default: that of the baseline; none in a new one)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l backend -d 'Compilers' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l opt -d 'Optimisation levels' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l target -d 'Instruction sets' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l engine -d 'How the subject is halted' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l cpu -d 'CPU features, as for `run`; may be given more than once. The default makes a baseline of one machine good for another' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l standard -d 'Version of WebAssembly that scripts were written for, where a manifest does not say' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l max-stops -d 'End a program, inconclusive, after this many stops' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l timeout -d 'End a program, inconclusive, after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l inject -d 'Inject a fault into one program: its name, @, and what `wdiff run --inject` takes' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l update-baseline -d 'Write the baseline instead of comparing with it'
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l fail-fast -d 'Run no more once something has failed'
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l resume -d 'Go on where an earlier gate of the same programs and options was ended'
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -l paranoid -d 'Run the cold paths of stable points too, and compare what they store'
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand gate" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and not __fish_seen_subcommand_from merge help" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and not __fish_seen_subcommand_from merge help" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and not __fish_seen_subcommand_from merge help" -f -a "merge" -d 'Put the shards of a gate together, or show a report in another form'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and not __fish_seen_subcommand_from merge help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and __fish_seen_subcommand_from merge" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and __fish_seen_subcommand_from merge" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and __fish_seen_subcommand_from merge" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and __fish_seen_subcommand_from merge" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and __fish_seen_subcommand_from help" -f -a "merge" -d 'Put the shards of a gate together, or show a report in another form'
complete -c wdiff -n "__fish_wdiff_using_subcommand report; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wdiff -n "__fish_wdiff_using_subcommand explain" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand explain" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand manual" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand manual" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l relay -d 'Who executes it in turn: oracle, or TARGET:LEVEL as in x86_64:speed' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l break -d 'Where a side is compared between two hand-overs: at every stable point, or nowhere; a hand-over then waits for a stable point that is not executed all the time (default: at every boundary)' -r -f -a "stable\t''
hand-over\t''"
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l every -d 'Hand over at every Nth stable point (default: at every one)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l at -d 'Hand over once, at the Nth stable point' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l random -d 'Hand over after 1 to 32 stable points, drawn each time' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l most -d 'Hand over so many times at most; then the program stays where it is' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l inject -d 'Do something wrong once while restoring: restore:KIND:SEED, KIND one of flip, swap, stale, order, frame, fd' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l inject-random -d 'Do something wrong so many times, each in a run of its own up to a stable point that is drawn, and see whether that hand-over notices' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l seed -d 'What the faults of --inject-random are drawn by' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l save -d 'Write the snapshot of the last hand-over' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l invoke -d 'Call this export instead of `_start`; ARGS are its parameters' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l dir -d 'Give the program a host directory under a guest path' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l env -d 'Set an environment variable of the program' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l stdin -d 'Standard input of the program (default: inherited; in a self-test empty)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l timeout -d 'End, inconclusive, after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -l halt -d 'End there, once it is written; `wdiff snapshot resume` goes on from it'
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand migrate" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l break -d 'Stop only at stable points (`stable`), in a function (`FUNC`) or at an instruction (`FUNC:OFFSET`)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l engine -d 'How the subject is halted: int3, probe, rsp' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l compare -d 'Which slots are compared: full, changed' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l sample -d 'Compare only every Nth boundary' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l from-boundary -d 'Begin comparing at the Nth executed boundary' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l invoke -d 'Call this export instead of `_start`; ARGS are its parameters' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l dir -d 'Give the program a host directory under a guest path' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l env -d 'Set an environment variable of the program' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l stdin -d 'Standard input of the program (default: inherited; in a self-test empty)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l record -d 'Write the operation log of all host calls' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l replay -d 'Answer host calls from an operation log' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l max-stops -d 'End, inconclusive, after this many stops' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l timeout -d 'End, inconclusive, after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l core -d 'Write an ELF core of the subject at the boundary named by --at' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l at -d 'The boundary for --core, `#N` its Nth execution (default the first)' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l inject -d 'Inject a fault: code:FUNC:OFFSET:KIND, every:INSTRUCTION:KIND, map:FUNC:OFFSET:SLOT, label:FUNC:OFFSET:SLOT, boundary:FUNC:OFFSET:KIND, frame:FUNC:OFFSET:cfa, stable:FUNC:OFFSET:KIND or instantiate:NUMBER:KIND' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l opt-of -d 'Compile one function at another level: none, speed, speed_and_size' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l reproducer -d 'The script that shows the divergence' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l budget -d 'Seconds to look for a smaller script' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l good -d 'Another wdiff, whose compiler is known to be right' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l bad -d 'Another wdiff, whose compiler is at fault; may be given more than once, oldest first' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l break-every-insn -d 'Stop at every boundary (the default)'
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l paranoid -d 'Run the cold paths of stable points too, and compare what they store'
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l functions -d 'Add to the report what is available function by function (always in HTML)'
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -l git -d 'Only say what `git bisect run` wants to know: exit code 0 for a match, 1 for a divergence, 125 for anything else'
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand bisect" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -f -a "show" -d 'Print what is in a snapshot'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -f -a "diff" -d 'Compare two snapshots; exit code 1 if they differ'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -f -a "check" -d 'Check a snapshot, and whether it fits a program'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -f -a "resume" -d 'Go on from a snapshot, in this process'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -f -a "convert" -d 'Make a snapshot of what was recorded of an interpreter: cells without types'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and not __fish_seen_subcommand_from show diff check resume convert help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from diff" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l module -d 'The program that it is of: .wasm or .wat' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l on -d 'Who executes it, as a side of `wdiff migrate --relay`' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l dir -d 'Give the program a host directory under a guest path; one for each that it had' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l stdin -d 'Standard input of the program (default: inherited; in a self-test empty)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l timeout -d 'End, inconclusive, after this many seconds' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'Schema wdiff-report/1'
html\t'One file to look at in a browser'
junit\t'JUnit XML, for CI systems'
sarif\t'SARIF 2.1.0, for code hosts'
markdown\t'A summary, for a pull request'"
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -l output -d 'Where the report goes (default: standard error)' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from resume" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l from -d 'Whose cells they are' -r -f -a "wamr\t'The classic interpreter of WAMR'
wasmedge\t'WasmEdge\'s interpreter'
wasm3\t'wasm3'"
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l module -d 'The program: .wasm or .wat' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -s o -l output -d 'The snapshot to write' -r -F
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l backend -d 'Compiler that makes the native code' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l opt -d 'Optimisation level' -r -f -a "none\t'Cranelift `opt_level=none`'
speed\t'Cranelift `opt_level=speed`'
speed_and_size\t'Cranelift `opt_level=speed_and_size`'"
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l stable -d 'Stable points compiled in: off, entry, loops, calls, labels' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l anchors -d 'Where stops are anchored: trap, srcloc' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l target -d 'Instruction set: x86_64, aarch64, riscv64, s390x' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -l cpu -d 'CPU features: baseline, native, or a list of +feature and -feature' -r
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from convert" -s V -l version -d 'Print version'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print what is in a snapshot'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Compare two snapshots; exit code 1 if they differ'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check a snapshot, and whether it fits a program'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "resume" -d 'Go on from a snapshot, in this process'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "convert" -d 'Make a snapshot of what was recorded of an interpreter: cells without types'
complete -c wdiff -n "__fish_wdiff_using_subcommand snapshot; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "run" -d 'Run a program natively under the tracer and compare every stop with the oracle'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "compile" -d 'Compile a program into an image: native code, DWARF and map in one ELF file'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "map" -d 'Print or check the map of an image'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "wast" -d 'Run scripts of the specification\'s test suite'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "selftest" -d 'Put faults into programs and see whether they are caught'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "fuzz" -d 'Run generated modules in lockstep'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "gate" -d 'Run many programs in many configurations, against a baseline'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "report" -d 'Work with reports'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "explain" -d 'Say what a name in a report means: a kind of divergence, a reason, a rule'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "manual" -d 'Write man pages and shell completions'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "migrate" -d 'Hand a program from one executor to the next and compare at every hand-over'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "bisect" -d 'Find where a divergence comes from, and make a small script that shows it'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "snapshot" -d 'Look at snapshots'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and not __fish_seen_subcommand_from run compile map wast selftest fuzz gate report explain manual migrate bisect snapshot help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and __fish_seen_subcommand_from report" -f -a "merge" -d 'Put the shards of a gate together, or show a report in another form'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "show" -d 'Print what is in a snapshot'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "diff" -d 'Compare two snapshots; exit code 1 if they differ'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "check" -d 'Check a snapshot, and whether it fits a program'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "resume" -d 'Go on from a snapshot, in this process'
complete -c wdiff -n "__fish_wdiff_using_subcommand help; and __fish_seen_subcommand_from snapshot" -f -a "convert" -d 'Make a snapshot of what was recorded of an interpreter: cells without types'
