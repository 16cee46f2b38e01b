--- The cells of a grid as a table for a spreadsheet (RFC 4180). A text that such a program would take for a formula has
--- an apostrophe before it. Control characters, which could steer a terminal, go.
local csv = {}

local COLUMNS = { "prompt", "image", "model", "settings", "repeat", "text", "reasoning", "finish_reason", "first_token",
  "total", "prompt_tokens", "completion_tokens", "cost", "check", "why", "error" }

local function field(value)
  if value == nil then return "" end
  if type(value) == "number" then return ("%.10g"):format(value) end
  local text = tostring(value):gsub("[%z\1-\8\11\12\14-\31\127]", ""):gsub("\194[\128-\159]", "")
  if text:find "^[=+@\t\r-]" then text = "'" .. text end
  return text:find '[",\r\n]' and '"' .. text:gsub('"', '""') .. '"' or text
end

function csv.write(out, report)
  out:write(table.concat(COLUMNS, ","), "\r\n")
  report.each(function(record)
    local answer, problem = record.answer or {}, record.error and record.error.message or record.missing
    local values = { record.prompt, record.image, record.model, record.settings, record.turn, answer.text,
      answer.reasoning, answer.finish_reason, answer.first, answer.total, answer.prompt_tokens,
      answer.completion_tokens, answer.cost, record.check, record.why, problem }
    for i = 1, #COLUMNS do values[i] = field(values[i]) end
    out:write(table.concat(values, ","), "\r\n")
  end)
end

return csv
