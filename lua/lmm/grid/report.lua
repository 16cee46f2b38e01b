--- What a grid has come to: a plan and its answers come in; each cell in its order, checked, goes to whatever writes
--- it, and a summary goes out.
local definitions = require "lmm.grid.definition"
local errors = require "lmm.errors"
local texts = require "lmm.text"

local report = {}

--- A cell as it is written.
---@class lmm.GridRecord
---@field number integer
---@field at integer[]
---@field key string?
---@field prompt string, image string?, model string, settings string, turn integer
---@field question string?  what was asked
---@field is_made boolean   the question is a function's
---@field answer lmm.GridAnswer?
---@field error { message: string, code: string?, status: integer? }?  where it failed
---@field missing string?   why it was not asked
---@field check boolean|number|nil, why string?, check_error string?

---@class lmm.GridSummary
---@field cells integer, answered integer, failed integer, missing integer
---@field checked integer, passed integer  passed: that the check found right, by true or a score from the threshold on
---@field check_errors integer  checks that raised, or gave what is no verdict
---@field check_error string?   of one of those
---@field score number?     the mean of all checks, a cell without an answer counting 0
---@field threshold number
---@field missing_why string?  of one of those
---@field asked integer     cells that were asked now
---@field logged integer    cells that were answered from the log now
---@field bytes integer     of the page

--- What `check` gets.
---@class lmm.GridReply
---@field text string, reasoning string?, finish_reason string?, value any, tool_calls table[]?
---@field usage { prompt_tokens: integer?, completion_tokens: integer? }, cost number?, model string?
---@field timing { first_token: number?, total: number? }
local Reply = {}
Reply.__tostring = function(self) return self.text end
Reply.__concat = function(a, b) return tostring(a) .. tostring(b) end

local function reply_of(answer)
  return setmetatable({ text = answer.text, reasoning = answer.reasoning, refusal = answer.refusal,
    finish_reason = answer.finish_reason, tool_calls = answer.tool_calls, value = answer.value, cost = answer.cost,
    model = answer.model,
    usage = { prompt_tokens = answer.prompt_tokens, completion_tokens = answer.completion_tokens },
    timing = { first_token = answer.first, total = answer.total } }, Reply)
end

--- Whether an answer is right. What the check raises is why it is not.
---@return boolean|number|nil result, string? why, string? problem  where the check itself is wrong
local function check(plan, cell, record)
  local fn = plan.definition.check
  if not fn then return nil end
  local row = plan:row(cell)
  row.question = record.question
  local ok, result, why = definitions.call(fn, reply_of(record.answer), row)
  local problem
  if not ok then
    problem = definitions.place(plan.path, result)
  elseif result == nil or type(result) == "boolean" then
    result = result == true
  elseif type(result) ~= "number" then
    problem = ("it gives true, false or a score from 0 to 1, not a %s"):format(type(result))
  elseif result ~= result or result < 0 or result > 1 then
    problem = ("a score is from 0 to 1, not %s"):format(texts.shown(result))
  end
  if problem then return false, "check: " .. problem, problem end
  return result, why and tostring(why)
end

--- The record of a cell.
---@param ended table<string, lmm.Error>  see lmm.grid.ask
---@param verdicts table[]  of the checks, each of which is made once
---@return lmm.GridRecord
local function record_of(plan, found, number, ended, verdicts)
  local cell = plan:cell(number)
  local record = { number = number, at = cell.at, key = found.keys[number], prompt = cell.prompt.name,
    image = cell.image and cell.image.name, model = cell.model.label, settings = cell.setting.name, turn = cell.turn,
    is_made = type(cell.prompt.prompt) == "function" }
  if found.keys[number] then record.question = select(2, plan:request(cell)) end
  record.answer, record.error = found:read(number)
  if record.answer then
    verdicts[number] = verdicts[number] or { check(plan, cell, record) }
    record.check, record.why, record.check_error = verdicts[number][1], verdicts[number][2], verdicts[number][3]
  elseif not record.error then
    local why = ended[found.folder:answers(cell.model.client)]
    record.missing = found.problems[number] or why and why.message or "it was not asked yet"
  end
  return record
end

--- Whether the check found an answer right.
---@param record lmm.GridRecord
---@param threshold number
---@return boolean
function report.passes(record, threshold)
  local score = tonumber(record.check)
  if score then return score >= threshold end
  return record.check == true
end

local function add(summary, record, has_check)
  summary.cells = summary.cells + 1
  local what = record.answer and "answered" or record.error and "failed" or "missing"
  summary[what] = summary[what] + 1
  summary.missing_why = summary.missing_why or record.missing
  if not has_check then return end
  local score = record.check == true and 1 or tonumber(record.check) or 0
  summary.checked, summary.sum = summary.checked + 1, summary.sum + score
  if report.passes(record, summary.threshold) then summary.passed = summary.passed + 1 end
  if record.check_error then summary.check_errors = summary.check_errors + 1 end
  summary.check_error = summary.check_error or record.check_error
end

--- What the checks have come to: "36 of 40 passed, 2 checks failed to run"
---@param summary lmm.GridSummary
---@param noun string?  for "36 of 40 cells passed"
---@return string
function report.verdicts(summary, noun)
  local checked = noun and texts.count(summary.checked, noun) or summary.checked
  local words = ("%d of %s passed"):format(summary.passed, checked)
  if summary.check_errors == 0 then return words end
  return ("%s, %s failed to run"):format(words, texts.count(summary.check_errors, "check"))
end

--- Opens what is written as a file beside it, which takes its place in the end; a device, a pipe and the standard
--- output are written to as they are.
---@return file*? out, string path_or_message
local function open(path)
  if path == "-" then return io.stdout, path end
  local kind = require("lmm.version").check("lmm.files").kind(path)
  local written = (not kind or kind == "file") and path .. ".new" or path
  local file, message = io.open(written, "wb")
  return file, file and written or message
end

--- Writes to a file as a whole: what is there stays until all of it is written.
---@param path string  "-": the standard output
---@param write fun(out: { write: function }): nil  what writes it
---@return integer? bytes, lmm.Error? err
local function to_file(path, write)
  local function fail(message)
    return nil, errors.new { kind = "invalid", message = ("cannot write '%s': %s"):format(path,
      tostring(message):gsub("^.*: ", "")) }
  end
  local file, written = open(path)
  if not file then return fail(written) end
  local failed
  local out = { write = function(self, ...)
    local ok, why = file:write(...)
    failed = failed or not ok and why
    return self
  end }
  local ok, raised = pcall(write, out)
  local done, why = file:flush() -- here, since seek drops what it cannot write
  local bytes = file:seek "cur" or 0
  if not done then failed = failed or why end
  if file ~= io.stdout then
    done, why = file:close()
    if not done then failed = failed or why end
  end
  if ok and not failed then
    if written == path then return bytes end
    local replaced, problem = require("lmm.version").check("lmm.files").replace(written, path)
    if replaced then return bytes end
    failed = problem
  end
  if written ~= path then os.remove(written) end
  if not ok then error(raised, 0) end
  return fail(failed)
end

--- Goes through all cells once for each output.
---@param plan lmm.GridPlan
---@param found lmm.GridAnswers  located
---@param ended table<string, lmm.Error>
---@param outputs { path: string, write: fun(out: table, report: { plan: lmm.GridPlan, each: fun(fn: function),
--- summary: lmm.GridSummary }) }[]
---@return lmm.GridSummary? summary, lmm.Error? err
function report.write(plan, found, ended, outputs)
  local verdicts, has_check = {}, plan.definition.check ~= nil
  local summary = { cells = 0, answered = 0, failed = 0, missing = 0, checked = 0, passed = 0, sum = 0,
    check_errors = 0, threshold = plan.definition.threshold or 1 }
  local function each(fn)
    for number = 1, plan.count do fn(record_of(plan, found, number, ended, verdicts)) end
  end
  each(function(record) add(summary, record, has_check) end)
  if has_check then summary.score = summary.sum / summary.checked end
  for _, output in ipairs(outputs) do
    local bytes, err = to_file(output.path, function(out)
      output.write(out, { plan = plan, each = each, summary = summary })
    end)
    if not bytes then return nil, err end
    output.bytes = bytes
  end
  return summary
end

return report
