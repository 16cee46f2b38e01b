--- A grid: prompts x pictures x models x settings come in; one page with all answers side by side goes out. `lmm grid`
--- is its command; see doc/grid.md.
--
--     definition ─> plan ─> answers (what is there) ─> ask (what is not) ─> report ─> page, csv, markdown, data, junit
local answers = require "lmm.grid.answers"
local ask = require "lmm.grid.ask"
local definitions = require "lmm.grid.definition"
local folders = require "lmm.grid.folder"
local page = require "lmm.grid.page"
local pictures = require "lmm.grid.pictures"
local plans = require "lmm.grid.plan"
local report = require "lmm.grid.report"

local grid = {}

--- Reads a file of Lua that returns a grid.
---@param path string
---@return lmm.Grid? definition, lmm.Error? err
function grid.load(path)
  return definitions.load(path)
end

--- Makes a plan of a grid; nobody is asked yet.
---@param definition lmm.Grid
---@param opts { path: string?, connect: table|(fun(name: string?): lmm.GridNamed)|nil }?
---@return lmm.GridPlan? plan, lmm.Error? err
function grid.plan(definition, opts)
  local checked, err = definitions.check(definition, opts and opts.path or "the grid")
  if not checked then return nil, err end
  return plans.new(checked, opts)
end

---@class lmm.GridOptions: lmm.GridAskOptions
---@field page string       the path of the page
---@field fresh boolean?    asks everything again
---@field log string?       the path of a log that may have answers
---@field csv string?, markdown string?, json string?, junit string?  paths of more files
---@field on_picture (fun(done: integer, total: integer))?

local WRITERS = {
  csv = "lmm.grid.csv", markdown = "lmm.grid.markdown", json = "lmm.grid.data", junit = "lmm.grid.junit",
}

local function outputs_of(folder, opts, notes)
  local list = { { path = opts.page, write = page.writer(folder:pictures(), next(notes) and notes or nil) } }
  for _, name in ipairs { "csv", "markdown", "json", "junit" } do
    if opts[name] then list[#list + 1] = { path = opts[name], write = require(WRITERS[name]).write } end
  end
  return list
end

--- Asks what is to be asked; gives what ended a server's run early, by its file.
local function ask_missing(plan, found, opts)
  if opts.fresh then
    local done, err = found:put_aside()
    if not done then return nil, err end
  end
  found:locate()
  local find, close = require("lmm.grid.logged").finder(not opts.fresh and opts.log or nil)
  local came = ask.all(plan, found, opts, find)
  close()
  found:locate()
  return came
end

--- Asks what is not answered yet, and writes the page.
---@param plan lmm.GridPlan
---@param opts lmm.GridOptions
---@return lmm.GridSummary? summary, lmm.Error? err
function grid.run(plan, opts)
  local folder = folders.of(opts.page)
  local ok, err = folder:make()
  if not ok then return nil, err end
  local notes
  notes, err = folder:read_notes()
  if not notes then return nil, err end
  local drawn = pictures.open(plan, folder:pictures())
  ok, err = drawn:identify()
  local summary, came, found, outputs
  if ok then
    plan:find_models()
    found = answers.new(plan, folder, drawn:digests())
    came, err = ask_missing(plan, found, opts)
  end
  if came then ok, err = drawn:write(opts.page, opts.on_picture) else ok = nil end
  if ok then
    outputs = outputs_of(folder, opts, notes)
    summary, err = report.write(plan, found, came.ended, outputs)
  end
  drawn:close()
  if found then found:close() end
  if not summary then return nil, err end
  summary.asked, summary.logged, summary.bytes = came.asked, came.logged, outputs[1].bytes
  return summary
end

--- What the checks of a run have come to, in words. See lmm.grid.report.
grid.verdicts = report.verdicts

--- Serves a page to a browser of this machine, and keeps its stars and notes. See lmm.grid.serve.
function grid.serve(path, opts)
  return require("lmm.grid.serve").start(path, opts)
end

return grid
