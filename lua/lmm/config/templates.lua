--- Prompts with holes: a text like "Describe {stdin} in {words} words." and the values come in; the prompt goes out.
--- `{{` and `}}` stand for a brace. What is no name between braces, as in {"a": 1}, is no hole.
local templates = {}

---@class lmm.Template
---@field prompt string
---@field system string?
---@field model string?  a model of the configuration, or of the server
---@field params table<string, any>?  fields of the request
---@field defaults table<string, string>?  what fills a hole for which nothing is given

--- Calls `fn(name)` for each hole of a text and puts what it gives in its place.
local function replace(text, fn)
  local out, at = {}, 1
  while true do
    local start = text:find("[{}]", at)
    if not start then break end
    out[#out + 1] = text:sub(at, start - 1)
    local brace = text:sub(start, start)
    local name, stop = text:match("^{([%a_][%w_-]*)}()", start)
    if text:sub(start + 1, start + 1) == brace then
      out[#out + 1], at = brace, start + 2
    elseif name then
      out[#out + 1], at = fn(name), stop
    else
      out[#out + 1], at = brace, start + 1
    end
  end
  out[#out + 1] = text:sub(at)
  return table.concat(out)
end

--- The names of the holes in a template.
---@param template lmm.Template
---@return table<string, true>
function templates.holes(template)
  local holes = {}
  for _, text in ipairs { template.prompt, template.system } do
    replace(text, function(name)
      holes[name] = true
      return ""
    end)
  end
  return holes
end

local function braced(names)
  table.sort(names)
  return "{" .. table.concat(names, "}, {") .. "}"
end

--- Fills the holes.
---@param template lmm.Template
---@param values table<string, string>
---@return { prompt: string, system: string? }? filled, string? problem
function templates.fill(template, values)
  local holes, missing, unknown = templates.holes(template), {}, {}
  local all = setmetatable({}, { __index = template.defaults })
  for name, value in pairs(values) do
    all[name] = value
    if not holes[name] then unknown[#unknown + 1] = name end
  end
  for name in pairs(holes) do
    if all[name] == nil then missing[#missing + 1] = name end
  end
  if #missing > 0 then return nil, ("nothing fills %s"):format(braced(missing)) end
  if #unknown > 0 then return nil, ("there is no hole %s"):format(braced(unknown)) end
  local function fill(text)
    return text and replace(text, function(name) return all[name] end)
  end
  return { prompt = fill(template.prompt), system = fill(template.system) }
end

return templates
