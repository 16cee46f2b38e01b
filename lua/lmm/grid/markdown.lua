--- The cells of a grid as a table in Markdown, models and settings side by side. What stands in a cell is text: nothing
--- of it is markup.
local report = require "lmm.grid.report"
local texts = require "lmm.text"

local markdown = {}

local MOST = 2000 -- bytes of a cell

local function escape(text)
  text = texts.utf8(text)
  if #text > MOST then text = texts.utf8(text:sub(1, MOST)):gsub("\239\191\189$", "") .. " ..." end
  text = text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;")
  text = text:gsub("[\\`*_{}%[%]()#!|~:@/]", function(c) return ("&#%d;"):format(c:byte()) end)
  return (text:gsub("%s*\r?\n%s*", "<br>"):gsub("%c", ""):gsub("\194[\128-\159]", ""))
end

local MARKS = { [true] = "✓ ", [false] = "✗ " }

local function cell(record)
  local answer = record.answer
  if not answer then
    return "**error:** " .. escape(record.error and record.error.message or record.missing)
  end
  local mark = MARKS[record.check] or record.check and ("%.2g "):format(record.check) or ""
  return mark .. escape(answer.text)
end

local function row(out, words) out:write("| ", table.concat(words, " | "), " |\n") end

function markdown.write(out, result)
  local plan, summary = result.plan, result.summary
  local columns, has_repeats = #plan.models * #plan.settings, plan.repeats > 1
  local heads, rule = { "", "" }, { "---", "---" }
  if has_repeats then heads[3], rule[3] = "repeat", "---" end
  for i = 1, columns do
    local model = plan.models[math.floor((i - 1) / #plan.settings) + 1]
    local setting = plan.settings[(i - 1) % #plan.settings + 1].name
    heads[#heads + 1] = escape(model.label .. (setting ~= "" and ", " .. setting or ""))
    rule[#rule + 1] = "---"
  end
  out:write("# ", escape(plan.title), "\n\n")
  if summary.score then
    out:write(("Score %.3g, %s.\n\n"):format(summary.score, report.verdicts(summary, "cell")))
  end
  row(out, heads)
  row(out, rule)
  -- Models and settings change faster than pictures, and the repeats fastest: a row's cells of all repeats come along.
  local rows = {}
  result.each(function(record)
    local at = record.at
    local row_words = rows[record.turn] or { escape(record.image or ""), escape(record.prompt),
      has_repeats and ("%d"):format(record.turn) or nil }
    rows[record.turn] = row_words
    row_words[#row_words + 1] = cell(record)
    if at[3] == #plan.models and at[4] == #plan.settings then
      row(out, row_words)
      rows[record.turn] = nil
    end
  end)
end

return markdown
