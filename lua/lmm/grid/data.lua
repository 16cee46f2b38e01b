--- The cells of a grid as JSON: one object with a list of cells, each with all that came for it.
local json = require "lmm.json"

local data = {}

function data.write(out, report)
  local plan, summary = report.plan, report.summary
  out:write('{"title":', json.text(plan.title), ',"summary":', json.text {
    cells = summary.cells, answered = summary.answered, failed = summary.failed, missing = summary.missing,
    score = summary.score, passed = summary.checked > 0 and summary.passed or nil, threshold = summary.threshold,
    check_errors = summary.check_errors > 0 and summary.check_errors or nil,
  }, ',"cells":[')
  report.each(function(record)
    local cell = plan:cell(record.number)
    out:write(record.number > 1 and ",\n" or "\n", json.text {
      prompt = record.prompt, question = record.question, image = cell.image and (cell.image.path or cell.image.url
        or cell.image.name), model = record.model, settings = cell.setting.fields, ["repeat"] = record.turn,
      answer = record.answer, error = record.error, missing = record.missing, check = record.check, why = record.why,
    })
  end)
  out:write "\n]}\n"
end

return data
