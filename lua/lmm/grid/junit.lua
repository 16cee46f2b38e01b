--- The cells of a grid as JUnit's XML, which continuous integration shows: a case for each cell. One whose check says
--- no, or whose score is below the threshold, is a failure; one without an answer is an error.
local report = require "lmm.grid.report"
local texts = require "lmm.text"

local junit = {}

local MOST = 4000 -- bytes of an answer

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;", ["\t"] = "&#9;",
  ["\r"] = "&#13;" }

--- XML 1.0 has no other control characters than these, and neither U+FFFE nor U+FFFF.
local function escape(text)
  text = texts.utf8(text):sub(1, MOST)
  text = texts.utf8(text):gsub("\239\191[\190\191]", ""):gsub("[%z\1-\8\11\12\14-\31]", "")
  return (text:gsub('[&<>"\n\t\r]', ENTITIES))
end

local function name_of(record)
  local words = { record.prompt }
  for _, word in ipairs { record.image or "", record.settings } do
    if word ~= "" then words[#words + 1] = word end
  end
  return table.concat(words, " | ") .. (record.turn > 1 and (" | #%d"):format(record.turn) or "")
end

local function is_failure(record, threshold)
  return record.check ~= nil and not report.passes(record, threshold)
end

local function body(record, threshold)
  if record.answer and is_failure(record, threshold) then
    local score = type(record.check) == "number" and ("score %.3g"):format(record.check)
    return ('<failure message="%s">%s</failure>'):format(escape(record.why or score or "the check says no"),
      escape(record.answer.text))
  elseif not record.answer then
    return ('<error message="%s"/>'):format(escape(record.error and record.error.message or record.missing))
  end
  return ""
end

function junit.write(out, result)
  local summary, failures = result.summary, 0
  result.each(function(record)
    if record.answer and is_failure(record, summary.threshold) then failures = failures + 1 end
  end)
  out:write('<?xml version="1.0" encoding="UTF-8"?>\n')
  out:write(('<testsuite name="%s" tests="%d" failures="%d" errors="%d">\n'):format(escape(result.plan.title),
    summary.cells, failures, summary.failed + summary.missing))
  result.each(function(record)
    out:write(('<testcase classname="%s" name="%s" time="%.3f">%s</testcase>\n'):format(escape(record.model),
      escape(name_of(record)), record.answer and record.answer.total or 0, body(record, summary.threshold)))
  end)
  out:write "</testsuite>\n"
end

return junit
