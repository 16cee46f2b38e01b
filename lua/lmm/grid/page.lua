--- The page of a grid: one file of HTML that needs nothing else. The data goes into it as JSON; the style and the
--- script that draw it are files of the folder page/, the same for every grid.
--
-- What came from a model is only ever text in it: in the JSON no "<" stands as itself, the script makes text nodes of
-- it, and the page's Content-Security-Policy lets no other script run and nothing be fetched but pictures.
local core = require "lmm.core"
local json = require "lmm.json"
local texts = require "lmm.text"
local version = require "lmm.version"

local page = {}

local FOLDER = debug.getinfo(1, "S").source:match "^@(.*)page%.lua$" .. "page/"
local SCRIPTS = { "data", "pivot", "words", "notes", "table", "detail", "main" }

local function read(name)
  local file = assert(io.open(FOLDER .. name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- The script, in one scope of its own.
local function script()
  local pieces = {}
  for i, name in ipairs(SCRIPTS) do pieces[i] = read(name .. ".js") end
  return '"use strict";\n(() => {\n' .. table.concat(pieces, "\n") .. "})();\n"
end

--- What a policy knows a text in the page by.
local function hash(text)
  local hex = version.check("lmm.digest").new():update(text):finish():hex()
  local bytes = hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
  return "'sha256-" .. core.base64.encode(bytes) .. "'"
end

--- The servers of pictures that are known by their URL.
local function origins(plan)
  local found, seen = {}, {}
  for _, image in ipairs(plan.images) do
    local origin = image.url and image.url:match "^https?://[%w.:%[%]-]+"
    if origin and not seen[origin] then found[#found + 1], seen[origin] = origin, true end
  end
  return table.concat(found, " ")
end

--- A text in HTML.
local function escape(text)
  return (texts.utf8(text):gsub('[&<>"\']', function(c) return ("&#%d;"):format(c:byte()) end))
end

--- JSON within a script element: nothing in it ends that, and no program takes it for the end of a line.
local function inert(text)
  return (text:gsub("<", "\\u003c"):gsub("\226\128\168", "\\u2028"):gsub("\226\128\169", "\\u2029"))
end

-- ---- the data ----------------------------------------------------------------------------------------------------

local function axes_of(plan)
  local prompts, models, settings = json.array {}, json.array {}, json.array {}
  for i, prompt in ipairs(plan.prompts) do
    prompts[i] = { name = prompt.name, text = type(prompt.prompt) == "string" and prompt.prompt or nil,
      system = prompt.system }
  end
  for i, model in ipairs(plan.models) do
    models[i] = { name = model.label, model = model.name, server = texts.without_user(model.client.base_url) }
  end
  for i, setting in ipairs(plan.settings) do settings[i] = { name = setting.name, fields = setting.fields } end
  return prompts, models, settings
end

local function head_of(report, notes)
  local plan = report.plan
  local prompts, models, settings = axes_of(plan)
  return {
    title = plan.title, made = os.date "!%Y-%m-%dT%H:%M:%SZ", version = version.number, prompts = prompts,
    models = models, settings = settings, repeats = plan.repeats, system = plan.definition.system,
    params = plan.definition.params, summary = report.summary, has_check = plan.definition.check ~= nil,
    notes = notes,
  }
end

local function cell_of(record)
  local answer, problem = record.answer or {}, record.error or {}
  return {
    at = json.array(record.at), key = record.key, asked = record.is_made and record.question or nil,
    text = answer.text, reasoning = answer.reasoning, refusal = answer.refusal, calls = answer.tool_calls,
    finish = answer.finish_reason, first = answer.first, total = answer.total, cost = answer.cost,
    prompt_tokens = answer.prompt_tokens, tokens = answer.completion_tokens, model = answer.model, id = answer.id,
    check = record.check, why = record.why, error = problem.message, status = problem.status, missing = record.missing,
  }
end

--- Makes what writes a page.
---@param pictures string  the path of the file of pictures
---@param notes table?     what people have noted
---@return fun(out: table, report: table)
function page.writer(pictures, notes)
  return function(out, report)
    local style, code = read "page.css", script()
    local parts = { title = escape(report.plan.title), style = style, script = code, style_hash = hash(style),
      script_hash = hash(code), origins = origins(report.plan) }
    for text, name in (read "page.html" .. "{{end}}"):gmatch "(.-){{(%w[%w_]*)}}" do
      out:write(text)
      if name == "data" then
        out:write('{"head":', inert(json.text(head_of(report, notes))), ',\n"pictures":[')
        local is_first = true
        for line in io.lines(pictures) do
          out:write(is_first and "\n" or ",\n", inert(line))
          is_first = false
        end
        out:write '],\n"cells":['
        report.each(function(record)
          out:write(record.number > 1 and ",\n" or "\n", inert(json.text(cell_of(record))))
        end)
        out:write "]}"
      elseif name ~= "end" then
        out:write(parts[name])
      end
    end
  end
end

return page
