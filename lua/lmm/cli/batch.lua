--- `lmm batch`: rows in files come in; a file with the answer to each goes out, and how far it is on standard error.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local field = require "lmm.cli.field"
local reports = require "lmm.cli.batch.report"
local serving = require "lmm.cli.serving"
local signals = require "lmm.cli.signals"
local texts = require "lmm.text"

local batch = {}

local DESCRIPTION = [[
Ask about many rows, some at a time, and keep each answer as a line of
OUT.jsonl. However the run ends, the same command goes on from there.]]

local EPILOG = [[
IN.jsonl holds lines of OpenAI's batch format (custom_id, method, url, body);
with --prompt or --request, any JSON. Pictures on this machine, as file:///PATH
or a bare path in image_url, are read as they are sent.

OUT.jsonl gets a line for each row that went well, OUT.errors.jsonl one for each
that failed, with the number of its line in the input; OUT.run says what the run
is, and is locked while it runs. How many rows run at a time is found out by
what the server answers in a second.

With --serve a model server of its own is started first and stopped at the end,
on a free port, which stands where COMMAND has {port}, else is appended; it asks
for a key that only this run knows. When it dies it is started again, and the
rows that ran are run again. Where nothing is left to do, none is started.

Ctrl-C finishes what runs; twice, it ends at once. SIGUSR1 prints how far it is.

Exit status:
   0 every row went well, 1 some failed or the run ended early, 2 wrong usage,
   130 or 143 where SIGINT or SIGTERM ended it

Examples:
   lmm batch in.jsonl -o out.jsonl
   lmm batch --prompt "Describe it." --images 'pictures/*.jpg' -o out.jsonl
   lmm batch --prompt "Is {name} in {city}?" --csv table.csv -o out.jsonl
   lmm batch in.jsonl -o out.jsonl --serve -- vllm serve MODEL
   lmm batch in.jsonl -o out.$SLURM_ARRAY_TASK_ID.jsonl --shard auto
   lmm batch merge out.*.jsonl -o out.jsonl
   lmm batch status out.jsonl]]

--- For argparse: rows in a second.
local function rate(text)
  local number = tonumber(text)
  if number and number > 0 then return number end
  return nil, ("'%s' is not a number of rows above 0"):format(text)
end

function batch.declare(parser)
  local command = parser:command("batch", DESCRIPTION, EPILOG):summary "Ask about many rows, and keep the answers."
  command:usage(table.concat({ "Usage: lmm batch [OPTION]... [IN.jsonl] -o OUT.jsonl [--serve -- COMMAND...]",
    "lmm batch merge OUT.*.jsonl -o OUT.jsonl", "lmm batch status OUT.jsonl" }, "\n       "))
  command:argument("words", "IN.jsonl, or what follows merge or status."):args "*"
  command:option("-o --output", "The file of the answers."):argname "OUT.jsonl"
  command:option("--prompt", "What to ask about each row, or @FILE; {column} stands for a field of it.")
    :argname "TEXT":overwrite(false)
  command:option("--images", "A pattern in quotes; each file that it matches is a row."):argname "GLOB":overwrite(false)
  command:option("--image-list", "A file with the path or URL of a picture on each line.")
    :argname "FILE":overwrite(false)
  command:option("--csv", "A table whose first line names its columns; `image` is a picture's path.")
    :argname "FILE":overwrite(false)
  command:option("--request", "A file of Lua that returns a function: of a row it makes a chat request.")
    :argname "FILE":overwrite(false)
  command:option("-m --model", "The model to ask, where a row names none (default: the first that the server lists).")
    :argname "NAME"
  command:option("-s --system", "The system message beside --prompt, or @FILE."):argname "TEXT"
  command:option("-p --param", "A field of each request of --prompt or --request, such as temperature=0. May be given"
    .. " several times."):argname("NAME=VALUE"):count("*"):convert(field.parse)
  connection.declare(command)
  command:option("--timeout", "How long to wait for one answer, all attempts included."):argname("SECONDS")
    :convert(console.seconds)
  command:option("--concurrency", "Run so many rows at a time (default: as many as gain speed)."):argname("N")
    :convert(console.whole(1))
  command:option("--rate", "Begin at most so many rows in a second."):argname("N"):convert(rate)
  command:option("--max-tokens-per-minute", "Use at most so many tokens in a minute, as the server counts them.")
    :argname("N"):convert(console.whole(1))
  command:option("--max-errors", "End when more rows than this have failed."):argname("N")
    :convert(console.whole(0))
  command:option("--server-timeout", "End when the server could not be reached for so long (default: 60).")
    :argname("SECONDS"):convert(console.seconds)
  command:option("--shard", "Run only these rows: 3/10 is the third of ten shares, auto that of a job array's task.")
    :argname "I/N"
  command:flag("--serve", "Run with a model server of its own, the command of which comes after --.")
  command:option("--", "The command of --serve, which is run without a shell."):args("+"):target("serve_command")
    :argname "COMMAND"
  command:option("--restarts", "Start the server again so many times (default: 3)."):argname("N")
    :convert(console.whole(0))
  serving.declare(command)
  command:flag("--ordered", "Put the lines in the order of the input at the end.")
  command:flag("--skip-bad", "Go on without lines that are no rows, each of which is an error.")
  command:flag("--retry-errors", "Run the rows that failed, and no others.")
  command:flag("--force", "Go on though the input, the model or the options have changed.")
  command:flag("--summary", "Print what it came to as JSON.")
end

-- ---- the run -----------------------------------------------------------------------------------------------------

local STATUS = { sigint = 130, sigterm = 143 }

local function check_serve(args)
  if args.serve and not args.serve_command then
    console.misuse "--serve takes the server's command: --serve -- vllm serve MODEL"
  end
  if args.serve and (args.url[1] or args.url_file) then
    console.misuse("%s names a server, and --serve starts one: give one", args.url[1] and "--url" or "--url-file")
  end
  if args.serve then return end
  if args.serve_command then console.misuse "a server's command goes with --serve" end
  for _, name in ipairs { "restarts", "ready_timeout", "log", "port" } do
    if args[name] then console.misuse("--%s goes with --serve", (name:gsub("_", "-"))) end
  end
end

local function check(args)
  local forms = {}
  for _, given in ipairs { { args.words[1], "IN.jsonl" }, { args.images, "--images" },
    { args.image_list, "--image-list" }, { args.csv, "--csv" } } do
    if given[1] then forms[#forms + 1] = given[2] end
  end
  if not args.output then console.misuse "name the file of the answers: -o OUT.jsonl" end
  if #args.words > 1 then console.misuse("one file of rows is taken, not %d", #args.words) end
  if #forms ~= 1 then
    console.misuse("%s: give one of IN.jsonl, --images, --image-list and --csv",
      #forms == 0 and "there are no rows" or table.concat(forms, " and "))
  end
  if args.prompt and args.request then console.misuse "--prompt and --request both make the request: give one" end
  for _, path in ipairs { args.words[1] or args.image_list or args.csv } do
    if path == "-" then
      console.misuse("the standard input can be read once, and rows are read whenever the run goes on: write them to a "
        .. "file (./- is one called -)")
    elseif console.is_fifo(path) then
      console.misuse("%s is a pipe, and rows are read twice: write them to a file", path)
    end
  end
  local makes = args.prompt or args.request
  if not makes and forms[1] ~= "IN.jsonl" then console.misuse("%s goes with --prompt or --request", forms[1]) end
  if not makes and args.param[1] then console.misuse "-p goes with --prompt or --request" end
  if args.system and not args.prompt then console.misuse "-s goes with --prompt" end
  check_serve(args)
end

--- Makes what calls the function of --request, which may not end, and what ends it wherever it is.
---@return function call  as pcall
---@return fun() cut
local function new_caller(uv)
  local loop, calling, is_cut = require "lmm.loop".current(), {}, false
  local function cut_off()
    return require "lmm.errors".new { kind = "cancelled", message = "the run was cut off" }
  end
  local function look()
    if is_cut then error(cut_off(), 0) end
  end
  local function leave(task, ...)
    debug.sethook()
    calling[task] = nil
    if is_cut then return false, cut_off() end
    return ...
  end
  local function call(fn, ...)
    local task = loop:running()
    calling[task] = true
    signals.hook(uv, look)
    return leave(task, pcall(fn, ...))
  end
  local function cut()
    is_cut = true
    for task in pairs(calling) do task:cancel() end -- it may wait
  end
  return call, cut
end

local function options_of(args, client, report, call)
  local fields = {}
  for _, given in ipairs(args.param) do fields[given.name] = given.value end
  return {
    output = args.output, client = client, input = args.words[1], images = args.images, image_list = args.image_list,
    csv = args.csv, prompt = args.prompt and console.text(args.prompt, "the prompt"), request = args.request,
    system = args.system and console.text(args.system, "the system message"), fields = fields, model = args.model,
    shard = args.shard, skip_bad = args.skip_bad, force = args.force, retry_errors = args.retry_errors,
    concurrency = args.concurrency, rate = args.rate, max_errors = args.max_errors,
    max_tokens_per_minute = args.max_tokens_per_minute, server_timeout = args.server_timeout, call = call,
    on_progress = function(state) report:show(state) end,
  }
end

--- How the run's server is reached: options of lmm.connect.
local function client_options(args)
  local opts = connection.options(args)
  opts.model, opts.timeout, opts.retry = args.model, args.timeout, require "lmm.bulk".retry
  opts.media_cache = opts.media_cache or false -- to name a picture by its bytes takes longer than to send it once
  return opts
end

local RESTARTS = 3

--- The server of --serve.
local function new_server(args, run, report)
  local key = os.getenv "OPENAI_API_KEY"
  if not key or key == "" then key = serving.new_key() end
  return require "lmm.bulk".server(run, {
    serve = serving.options(args, args.serve_command, key, client_options(args)),
    restarts = args.restarts or RESTARTS,
    on_restart = function(message) report:note("%s", message) end,
  })
end

local function print_summary(summary)
  console.write(require "lmm.json".encode(summary) .. "\n")
end

--- Says what failed and what is missing; gives the exit status.
---@param total integer  rows that were found before anything was sent
local function conclude(args, total, summary, message, err)
  summary = summary or err and err.summary
  if args.summary and summary then print_summary(summary) end
  if message then return nil, message, err end
  local said, ended = {}, summary.done + summary.failed -- of other inputs, too, where --force has gone on
  local missing = total - ended
  if summary.failed > 0 then
    said[1] = ("%d of %s failed: %s says why (--retry-errors runs them again)"):format(summary.failed,
      texts.count(math.max(total, ended), "row"), (args.output:gsub("%.jsonl$", "")) .. ".errors.jsonl")
  end
  if missing > 0 then
    said[#said + 1] = (args.retry_errors and "%s not run yet, which the same command without --retry-errors runs"
      or "%s missing: the input has changed while it was read"):format(texts.count(missing, "row"))
  end
  if #said == 0 then return true end
  return nil, table.concat(said, "; ")
end

local LEAST_FILES = 24 -- that a run of one row opens; with fewer, libuv ends the process

local function check_files()
  local room = require("lmm.version").check("lmm.files").room()
  if room >= LEAST_FILES then return end
  console.fail("the process may have %d more files open, and lmm batch needs %d: raise the limit (ulimit -n 64), and "
    .. "the same command goes on", room, LEAST_FILES)
end

--- Says what whoever began the run may not expect.
local function note_odds(args, run, report)
  for _, path in ipairs(run.journal.dropped) do
    report:note("the last line of '%s' was cut short, and is dropped%s", path,
      path == run.journal.run_path and "" or ": its row is run again")
  end
  local limit = run:state().concurrency
  if args.concurrency and limit < args.concurrency then
    report:note("%s at a time, not %d: the process may have no more files open (ulimit -n)",
      texts.count(limit, "row"), args.concurrency)
  end
end

function batch.answer(args)
  check(args)
  check_files()
  local uv, bulk = require "luv", require "lmm.bulk"
  local client = not args.serve and require "lmm".connect(client_options(args)) or nil
  local report = reports.new(client)
  local call, cut = new_caller(uv)
  local run, problem, signal
  local close_state = signals.listen(uv, { "sigusr1", "sigxfsz" }, function(name) -- while the rows are read, too
    if name == "sigxfsz" then return end -- the write beyond the largest size of a file fails, and says so
    report:note_state(run:state())
  end)
  run, problem = bulk.prepare(options_of(args, client, report, call))
  if not run then
    close_state()
    return nil, problem.message, problem
  end
  local server = args.serve and new_server(args, run, report)
  note_odds(args, run, report)
  local close = signals.listen(uv, { "sigint", "sigterm" }, function(name)
    if signal then
      cut()
      if run.client then run.client:close() end -- none yet while the server of --serve loads
      if server then server:kill() end
    else
      signal = name
      report:note("finishing what runs, %s; once more ends it at once", texts.count(run:state().running, "row"))
      run:stop()
    end
  end)
  local ok, summary, message, err = pcall(signals.run_task, uv, function()
    return require "lmm.errors".public(bulk.finish(run, args.ordered, server))
  end)
  close()
  close_state()
  report:clear()
  if not ok then error(summary, 0) end
  if signal and message then
    if args.summary then print_summary(err.summary) end
    error({ status = STATUS[signal], message = ("stopped after %s; the same command goes on"):format(
      texts.count(err.summary.done + err.summary.failed, "row")) }, 0)
  end
  return conclude(args, run.total, summary, message, err)
end

-- ---- merge and status --------------------------------------------------------------------------------------------

local function tail(words)
  local rest = {}
  for i = 2, #words do rest[#rest + 1] = words[i] end
  return rest
end

function batch.merge(args)
  local files = tail(args.words)
  if #files == 0 then console.misuse "merge takes the files of the shards" end
  if not args.output then console.misuse "name the file to write: -o OUT.jsonl" end
  local merged, err = require "lmm.bulk".merge(files, args.output)
  if not merged then return nil, err.message, err end
  if args.summary then print_summary(merged) end
  if merged.missing == 0 then return true end
  local named = table.concat(merged.first_missing, ", ") .. (merged.missing > #merged.first_missing and " ..." or "")
  return nil, ("%s missing in %s, %d of which failed%s"):format(texts.count(merged.missing, "row"), args.output,
    merged.failed, merged.first_missing[1] and ": lines " .. named or "")
end

--- Without the files of errors, which stand beside those of answers where a pattern finds both.
local function of_answers(files)
  local found = {}
  for _, path in ipairs(files) do
    if not path:find "%.errors%.jsonl$" then found[#found + 1] = path end
  end
  return found[1] and found or files
end

function batch.status(args)
  local files = of_answers(tail(args.words))
  if #files == 0 then console.misuse "status takes the files of answers" end
  for _, path in ipairs(files) do
    local status, err = require "lmm.bulk".status(path)
    if not status then return nil, err.message, err end
    local start = status.start or {}
    local who = status.is_running and ("process %s on %s runs it since %s"):format(tostring(start.pid),
      tostring(start.host), tostring(start.time)) or "nobody runs it"
    console.write(("%s: %d done, %d failed%s%s; %s\n"):format(path, status.done, status.failed,
      status.rows and (" of %d"):format(status.rows) or "", status.shard and ", shard " .. status.shard or "", who))
  end
  return true
end

local OPTIONS = { "output", "prompt", "images", "image_list", "csv", "request", "model", "system", "param", "url",
  "url_file", "server", "header", "dialect", "timeout", "concurrency", "rate", "max_tokens_per_minute", "max_errors",
  "server_timeout", "shard", "serve", "restarts", "ready_timeout", "log", "port", "ordered", "skip_bad", "retry_errors",
  "force", "summary" }

--- Which of them merge and status heed: --retry-errors runs nothing behind status.
local TAKES = { merge = { output = true, summary = true }, status = {} }

function batch.run(args)
  if args.output == "-" then
    console.misuse "-o takes the name of a file, which is gone on with: ./- is one called -"
  end
  local first = args.words[1]
  if TAKES[first] then console.check_options(args, OPTIONS, TAKES[first], "lmm batch " .. first) end
  return (first == "merge" and batch.merge or first == "status" and batch.status or batch.answer)(args)
end

return batch
