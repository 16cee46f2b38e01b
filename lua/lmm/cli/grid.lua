--- `lmm grid`: prompts, pictures, models and settings come in, by a file of Lua or by options; a page with all answers
--- goes out. `lmm grid serve` shows a page, `lmm grid watch` makes it again whenever the file is saved.
local connection = require "lmm.cli.connection"
local console = require "lmm.cli.console"
local field = require "lmm.cli.field"
local grid_file = require "lmm.cli.grid_file"
local logging = require "lmm.cli.logging"
local signals = require "lmm.cli.signals"
local texts = require "lmm.text"

local grid = {}

local DESCRIPTION = [[
Ask prompts about pictures of several models, and write one page with all the
answers side by side. What was answered before is not asked again.]]

local EPILOG = [[
GRID.lua returns a table:

   return {
     prompts = { "Describe it.", short = "Name it." }, images = "pictures/*.jpg",
     models = { "a", "b" }, settings = { temperature = { 0, 0.7 } },
     check = function(reply, row) return reply.text:find "telescope" ~= nil end,
   }

or options say the same; beside a file they take the place of what it says. The
page needs nothing else and can be mailed; the folder PAGE.grid beside it holds
the answers, which the next run takes up.

Exit status:
   0 every cell has an answer (with --ci: the score reaches the threshold),
   1 some have none, or it does not, 2 wrong usage, 130 or 143 where SIGINT or
   SIGTERM ended it

Examples:
   lmm grid --prompt "What is it?" --images 'x/*.jpg' -m a -m b -o page.html
   lmm grid --prompt @long.txt --set temperature=0,0.7 --repeat 3
   lmm grid grid.lua --ci --junit results.xml
   lmm grid watch grid.lua
   lmm grid serve grid.html]]

--- For argparse: --set temperature=0,0.7. The values are JSON where they are JSON, else texts.
local function set(word)
  local name, text = word:match "^([^=]+)=(.+)$"
  if not name then return nil, ("--set takes name=value,value, not '%s'"):format(word) end
  local json = require "lmm.json"
  local whole, message = json.decode(text)
  if not message and type(whole) == "table" then
    return { name = name, values = whole[1] ~= nil and whole or { whole } }
  end
  local values = {}
  for piece in (text .. ","):gmatch "([^,]*)," do
    if piece == "" then return nil, ("a value of '--set %s' is empty: \"\" is the empty text"):format(word) end
    local value, problem = json.decode(piece)
    if problem then value = piece end
    values[#values + 1] = value
  end
  return { name = name, values = values }
end

--- For argparse: a score.
local function score(text)
  local number = tonumber(text)
  if number and number >= 0 and number <= 1 then return number end
  return nil, ("'%s' is no score from 0 to 1"):format(text)
end

local function declare_axes(command)
  command:option("--prompt", "What to ask, or @FILE. May be given several times."):argname("TEXT"):count "*"
  command:option("--images", "A pattern in quotes, a path or a URL. May be given several times.")
    :argname("GLOB"):count "*"
  command:option("-m --model", "A model to ask (default: the first that the server lists). May be given several times.")
    :argname("NAME"):count "*"
  command:option("--set", "A request field and the values to compare. May be given several times: all combinations are"
    .. " asked."):argname("NAME=VALUE,..."):count("*"):convert(set)
  command:option("--repeat", "Ask each cell so often."):argname("N"):convert(console.whole(1)):target "repeats"
  command:option("-s --system", "The system message, or @FILE."):argname "TEXT"
  command:option("-p --param", "A field of each request, such as max_tokens=100. May be given several times.")
    :argname("NAME=VALUE"):count("*"):convert(field.parse)
  command:option("--max-side", "Shrink pictures so that no side is longer."):argname("PIXELS"):convert(console.whole(1))
  command:option("--title", "The title of the page."):argname "TEXT"
end

local function declare_outputs(command)
  command:option("-o --output", "The page (default: the grid file's name, or grid, with .html)."):argname "PAGE.html"
  command:option("--csv", "Write the cells as a table for spreadsheets, too; - is the standard output.")
    :argname "FILE"
  command:option("--markdown", "Write them as a table in Markdown, too."):argname "FILE"
  command:option("--json", "Write all that is known of them as JSON, too."):argname "FILE"
  command:option("--junit", "Write them as test cases in JUnit's XML, too."):argname "FILE"
end

function grid.declare(parser)
  local command = parser:command("grid", DESCRIPTION, EPILOG)
    :summary "Compare prompts, pictures, models and settings in one page."
  command:usage(table.concat({ "Usage: lmm grid [OPTION]... [GRID.lua] [-o PAGE.html]",
    "lmm grid watch [OPTION]... GRID.lua [-o PAGE.html]", "lmm grid serve [--port N] PAGE.html" }, "\n       "))
  local first = command:argument("words", "GRID.lua, or what follows watch or serve."):args "*"
  first.words, first.is_open = { "serve", "watch" }, true
  declare_axes(command)
  declare_outputs(command)
  connection.declare(command)
  command:option("--timeout", "How long to wait for one answer, all attempts included."):argname("SECONDS")
    :convert(console.seconds)
  command:option("--concurrency", "Ask so many cells of a server at a time (default: found out).")
    :argname("N"):convert(console.whole(1))
  command:option("--server-timeout", "Give a server up that could not be reached for so long (default: 10).")
    :argname("SECONDS"):convert(console.seconds)
  logging.declare(command)
  command:flag("--fresh", "Ask everything again, whatever was answered before.")
  command:flag("--retry-errors", "Ask again what failed.")
  command:flag("--ci", "Exit with 1 where the score is below the threshold.")
  command:option("--threshold", "The mean score of the checks that --ci wants (default: the grid's own, else 1).")
    :argname("SCORE"):convert(score)
  command:option("--port", "For serve: the port (default: a free one)."):argname("N"):convert(console.whole(0))
end

-- ---- a run -------------------------------------------------------------------------------------------------------

--- "12/40 cells, 2 failed, 4 running"
local function describe(state)
  local words = { ("%d/%s"):format(state.done + state.failed, texts.count(state.total, "cell")) }
  if state.failed > 0 then words[#words + 1] = ("%d failed"):format(state.failed) end
  words[#words + 1] = ("%d running"):format(state.running)
  if state.waits_for then words[#words + 1] = "waiting: " .. state.waits_for end
  return table.concat(words, ", ")
end

local function size(bytes)
  if bytes < 1000000 then return ("%d KB"):format(math.ceil(bytes / 1000)) end
  return ("%.1f MB"):format(bytes / 1000000)
end

--- "grid.html: 40 cells, 12 asked now, 2 failed, score 0.9 (36 passed); 1.2 MB"
local function conclusion(page, summary)
  local words = { ("%s, %d asked now"):format(texts.count(summary.cells, "cell"), summary.asked) }
  if summary.logged > 0 then words[#words + 1] = ("%d from the log"):format(summary.logged) end
  if summary.failed > 0 then words[#words + 1] = ("%d failed"):format(summary.failed) end
  if summary.missing > 0 then words[#words + 1] = ("%d without an answer"):format(summary.missing) end
  if summary.score then
    local verdicts = require("lmm.grid").verdicts(summary)
    words[#words + 1] = ("score %.3g (%s)"):format(summary.score, verdicts)
  end
  return ("%s: %s; %s"):format(page, table.concat(words, ", "), size(summary.bytes))
end

local STATUS = { sigint = 130, sigterm = 143 }

--- Runs a plan, in a task.
---@param state { signal: string? }  of signals that came: no more is asked then
---@return lmm.GridSummary? summary, lmm.Error? err
local function run_plan(plan, page, args, state, line)
  local grids = require "lmm.grid"
  return grids.run(plan, {
    page = page, fresh = args.fresh, retry_errors = args.retry_errors, concurrency = args.concurrency,
    timeout = args.timeout, server_timeout = args.server_timeout, csv = args.csv, markdown = args.markdown,
    json = args.json, junit = args.junit, log = logging.apply({}, args).log,
    on_progress = function(progress)
      line:show(progress.seconds, describe(progress))
      return not state.signal
    end,
    on_picture = function(done, total)
      if not state.signal then line:show(0, ("drawing pictures, %d/%d"):format(done, total)) end
    end,
  })
end

--- Has the file, or one of its functions, cut off by a signal as Ctrl-C would cut off any program of Lua's.
local function hook(uv, state)
  signals.hook(uv, function()
    if state.signal and not state.plan or state.is_cut then error("interrupted!", 0) end
  end)
end

--- Listens for what ends a run: once, and what runs is finished; twice, and it is cut off.
local function listen(uv, state, line)
  return signals.listen(uv, { "sigint", "sigterm" }, function(name)
    if state.signal and state.plan then
      state.is_cut = true
      for _, model in ipairs(state.plan.models) do model.client:close() end
    end
    state.signal = state.signal or name
    line:clear()
    if state.on_signal then state.on_signal() end
  end)
end

--- Says what a run has come to: on standard error where a table has gone to standard output.
local function announce(args, page, summary)
  local is_taken = args.csv == "-" or args.markdown == "-" or args.json == "-" or args.junit == "-"
  if is_taken then
    console.note("%s", conclusion(page, summary))
  else
    console.write(conclusion(page, summary) .. "\n")
  end
  if summary.check_errors == 0 then return end
  console.note("lmm: %d of %s failed to run, and count 0: %s", summary.check_errors,
    texts.count(summary.checked, "check"), summary.check_error)
end

--- What a run has come to, as the exit status has it.
local function judge(args, page, summary)
  announce(args, page, summary)
  if args.ci and summary.score < summary.threshold then
    console.fail("the score %.3g is below the threshold %.3g", summary.score, summary.threshold)
  end
  if summary.missing > 0 then
    console.fail("%s without an answer: %s", texts.count(summary.missing, "cell"), summary.missing_why)
  end
  if summary.failed > 0 and not args.ci then
    console.fail("%d of %s failed: the page says why (--retry-errors asks them again)", summary.failed,
      texts.count(summary.cells, "cell"))
  end
  return true
end

function grid.make(args)
  local path = args.words[1]
  if #args.words > 1 then console.misuse("one file is taken, not %d", #args.words) end
  if not path and not args.prompt[1] then console.misuse "give a file GRID.lua, or --prompt TEXT" end
  local uv, page = require "luv", grid_file.page(path, args)
  local line, state = require "lmm.cli.progress".new(), {}
  local close = listen(uv, state, line)
  local ok, summary, err = pcall(signals.run_task, uv, function()
    hook(uv, state)
    local plan, problem = grid_file.plan(path, args)
    if not plan then return nil, problem end
    if args.ci and not plan.definition.check then console.misuse "--ci: the grid has no check" end
    state.plan = plan
    return run_plan(plan, page, args, state, line)
  end)
  close()
  line:clear()
  local is_cut = not ok and type(summary) == "string" and summary:find "interrupted!$"
  if not ok and not is_cut then error(summary, 0) end
  if ok and not summary then return nil, err.message, err end
  if state.signal then
    if ok then console.note("%s", conclusion(page, summary)) end
    error({ status = STATUS[state.signal], message = "stopped: the same command goes on" }, 0)
  end
  return judge(args, page, summary)
end

-- ---- watch and serve ---------------------------------------------------------------------------------------------

local POLL = 200 -- milliseconds between looks at the file

--- One run of watch; what goes wrong is told, and the next save may mend it.
local function run_once(path, page, args, state, line)
  local plan, err = grid_file.plan(path, args)
  local summary
  if plan then
    state.plan = plan
    summary, err = run_plan(plan, page, args, state, line)
  end
  line:clear()
  if summary then
    announce(args, page, summary)
    if summary.missing > 0 then console.note("lmm: %s", summary.missing_why) end
  else
    console.note("lmm: %s", err.message)
  end
  args.fresh, args.retry_errors = nil, nil -- the first run has done so
end

function grid.watch(args)
  local path = args.words[2]
  if not path or args.words[3] then console.misuse "watch takes one file: lmm grid watch GRID.lua" end
  local uv, page = require "luv", grid_file.page(path, args)
  local line, state, is_changed = require "lmm.cli.progress".new(), {}, true
  local poll = uv.new_fs_poll()
  poll:start(path, POLL, function(problem)
    if not problem then is_changed = true end -- while it is not there, nothing can be made of it
  end)
  local close = listen(uv, state, line)
  while not state.signal do
    if is_changed then
      is_changed = false
      local ok, problem = pcall(signals.run_task, uv, function()
        hook(uv, state)
        run_once(path, page, args, state, line)
        return true
      end)
      if not ok and not state.signal then error(problem, 0) end
    end
    if not state.signal then
      signals.run_until(uv, function() return is_changed or state.signal ~= nil end)
    end
  end
  local is_closed
  poll:close(function() is_closed = true end) -- later, and luv crashes at the end of the process before that
  signals.run_until(uv, function() return is_closed end)
  close()
  error({ status = STATUS[state.signal] }, 0)
end

function grid.serve(args)
  local path = args.words[2]
  if not path or args.words[3] then console.misuse "serve takes one page: lmm grid serve PAGE.html" end
  local uv = require "luv"
  local server, err = require "lmm.grid".serve(path, { port = args.port })
  if not server then return nil, err.message, err end
  console.write(("%s is at %s until Ctrl-C\n"):format(path, server.url))
  local ended_by
  local close = signals.listen(uv, { "sigint", "sigterm" }, function(name) ended_by = name end)
  signals.run_until(uv, function() return ended_by ~= nil end)
  server.close()
  close()
  return true
end

function grid.run(args)
  local first = args.words[1]
  return (first == "serve" and grid.serve or first == "watch" and grid.watch or grid.make)(args)
end

return grid
