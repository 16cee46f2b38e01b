-- The JSON reader: what it takes and what it refuses, by the names of JSONTestSuite's kinds; the same values as
-- lua-cjson; where and why a text fails; and input that means harm.
local cjson = require "cjson.safe"
local core = require "lmm.core"

local decode, null, array_mt = core.decode, core.null, core.array_mt
local BOM = "\239\187\191"
local has_integers = math.type ~= nil

local function list(...) return setmetatable({ ... }, select("#", ...) == 0 and array_mt or nil) end

-- ---- what is taken, and what comes of it

local taken = {
  { "y_array_arraysWithSpaces", "[[]   ]", { list() } },
  { "y_array_empty-string", "[\"\"]", { "" } },
  { "y_array_empty", "[]", list() },
  { "y_array_ending_with_newline", "[\"a\"]\n", { "a" } },
  { "y_array_false", "[false]", { false } },
  { "y_array_heterogeneous", "[null, 1, \"1\", {}]", { null, 1, "1", {} } },
  { "y_array_null", "[null]", { null } },
  { "y_array_with_1_and_newline", "[1\n]", { 1 } },
  { "y_array_with_leading_space", " [1]", { 1 } },
  { "y_array_with_several_null", "[1,null,null,null,2]", { 1, null, null, null, 2 } },
  { "y_array_with_trailing_space", "[2] ", { 2 } },
  { "y_number", "[123e65]", { 123e65 } },
  { "y_number_0e+1", "[0e+1]", { 0 } },
  { "y_number_0e1", "[0e1]", { 0 } },
  { "y_number_after_space", "[ 4]", { 4 } },
  { "y_number_double_close_to_zero", "[-0." .. ("0"):rep(78) .. "1]", { -1e-79 } },
  { "y_number_int_with_exp", "[20e1]", { 200 } },
  { "y_number_minus_zero", "[-0]", { 0 } },
  { "y_number_negative_int", "[-123]", { -123 } },
  { "y_number_negative_one", "[-1]", { -1 } },
  { "y_number_negative_zero", "[-0.0]", { 0 } },
  { "y_number_real_capital_e", "[1E22]", { 1e22 } },
  { "y_number_real_capital_e_neg_exp", "[1E-2]", { 0.01 } },
  { "y_number_real_capital_e_pos_exp", "[1E+2]", { 100 } },
  { "y_number_real_exponent", "[123e45]", { 123e45 } },
  { "y_number_real_fraction_exponent", "[123.456e78]", { 123.456e78 } },
  { "y_number_real_neg_exp", "[1e-2]", { 0.01 } },
  { "y_number_real_pos_exponent", "[1e+2]", { 100 } },
  { "y_number_simple_int", "[123]", { 123 } },
  { "y_number_simple_real", "[123.456789]", { 123.456789 } },
  { "y_object", "{\"a\":\"b\", \"c\":\"d\"}", { a = "b", c = "d" } },
  { "y_object_basic", "{\"a\":\"b\"}", { a = "b" } },
  { "y_object_duplicated_key", "{\"a\":\"b\",\"a\":\"c\"}", { a = "c" } },
  { "y_object_duplicated_key_and_value", "{\"a\":\"b\",\"a\":\"b\"}", { a = "b" } },
  { "y_object_empty", "{}", {} },
  { "y_object_empty_key", "{\"\":0}", { [""] = 0 } },
  { "y_object_escaped_null_in_key", "{\"a\\u0000b\": 1}", { ["a\0b"] = 1 } },
  { "y_object_extreme_numbers", "{ \"min\": -1.0e+28, \"max\": 1.0e+28 }", { min = -1e28, max = 1e28 } },
  { "y_object_long_strings", "{\"x\":[{\"id\": \"" .. ("x"):rep(40) .. "\"}], \"id\": \"y\"}",
    { x = { { id = ("x"):rep(40) } }, id = "y" } },
  { "y_object_simple", "{\"a\":[]}", { a = list() } },
  { "y_object_string_unicode", "{\"t\":\"\\u041f\\u043e\" }", { t = "\208\159\208\190" } },
  { "y_object_with_newlines", "{\n\"a\": \"b\"\n}", { a = "b" } },
  { "y_string_1_2_3_bytes_UTF-8_sequences", "[\"\\u0060\\u012a\\u12AB\"]", { "`\196\170\225\138\171" } },
  { "y_string_accepted_surrogate_pair", "[\"\\uD801\\udc37\"]", { "\240\144\144\183" } },
  { "y_string_accepted_surrogate_pairs", "[\"\\ud83d\\ude39\\ud83d\\udc8d\"]", { "\240\159\152\185\240\159\146\141" } },
  { "y_string_allowed_escapes", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", { "\"\\/\b\f\n\r\t" } },
  { "y_string_backslash_and_u_escaped_zero", "[\"\\\\u0000\"]", { "\\u0000" } },
  { "y_string_backslash_doublequotes", "[\"\\\"\"]", { "\"" } },
  { "y_string_comments", "[\"a/*b*/c/*d//e\"]", { "a/*b*/c/*d//e" } },
  { "y_string_double_escape_a", "[\"\\\\a\"]", { "\\a" } },
  { "y_string_double_escape_n", "[\"\\\\n\"]", { "\\n" } },
  { "y_string_escaped_control_character", "[\"\\u0012\"]", { "\18" } },
  { "y_string_escaped_noncharacter", "[\"\\uFFFF\"]", { "\239\191\191" } },
  { "y_string_in_array", "[\"asd\"]", { "asd" } },
  { "y_string_in_array_with_leading_space", "[ \"asd\"]", { "asd" } },
  { "y_string_last_surrogates_1_and_2", "[\"\\uDBFF\\uDFFF\"]", { "\244\143\191\191" } },
  { "y_string_nbsp_uescaped", "[\"new\\u00A0line\"]", { "new\194\160line" } },
  { "y_string_nonCharacterInUTF-8_U+10FFFF", "[\"\244\143\191\191\"]", { "\244\143\191\191" } },
  { "y_string_nonCharacterInUTF-8_U+FFFF", "[\"\239\191\191\"]", { "\239\191\191" } },
  { "y_string_null_escape", "[\"\\u0000\"]", { "\0" } },
  { "y_string_one-byte-utf-8", "[\"\\u002c\"]", { "," } },
  { "y_string_pi", "[\"\207\128\"]", { "\207\128" } },
  { "y_string_simple_ascii", "[\"asd \"]", { "asd " } },
  { "y_string_space", "\" \"", " " },
  { "y_string_surrogates_U+1D11E", "[\"\\uD834\\uDd1e\"]", { "\240\157\132\158" } },
  { "y_string_three-byte-utf-8", "[\"\\u0821\"]", { "\224\160\161" } },
  { "y_string_two-byte-utf-8", "[\"\\u0123\"]", { "\196\163" } },
  { "y_string_u+2028_line_sep", "[\"\226\128\168\"]", { "\226\128\168" } },
  { "y_string_u+2029_par_sep", "[\"\226\128\169\"]", { "\226\128\169" } },
  { "y_string_uEscape", "[\"\\u0061\\u30af\"]", { "a\227\130\175" } },
  { "y_string_unescaped_char_delete", "[\"\127\"]", { "\127" } },
  { "y_string_unicodeEscapedBackslash", "[\"\\u005C\"]", { "\\" } },
  { "y_string_with_del_character", "[\"a\127a\"]", { "a\127a" } },
  { "y_structure_lonely_false", "false", false },
  { "y_structure_lonely_int", "42", 42 },
  { "y_structure_lonely_negative_real", "-0.1", -0.1 },
  { "y_structure_lonely_null", "null", null },
  { "y_structure_lonely_string", "\"asd\"", "asd" },
  { "y_structure_lonely_true", "true", true },
  { "y_structure_string_empty", "\"\"", "" },
  { "y_structure_trailing_newline", "[\"a\"]\n", { "a" } },
  { "y_structure_true_in_array", "[true]", { true } },
  { "y_structure_whitespace_array", " [] ", list() },
  -- Where the suite leaves it open.
  { "i_number_huge_exp", "[0.4e00669999999999999999999999999999999999999999999999]", { math.huge } },
  { "i_number_neg_int_huge_exp", "[-1e+9999]", { -math.huge } },
  { "i_number_real_underflow", "[123e-10000000]", { 0 } },
  { "i_number_very_big_negative_int", "[-237462374673276894279832749832423479823246327846]",
    { -237462374673276894279832749832423479823246327846 } },
  { "i_object_key_lone_2nd_surrogate", "{\"\\uDFAA\":0}", { ["\239\191\189"] = 0 } },
  { "i_string_1st_surrogate_but_2nd_missing", "[\"\\uDADA\"]", { "\239\191\189" } },
  { "i_string_1st_valid_surrogate_2nd_invalid", "[\"\\uD888\\u1234\"]", { "\239\191\189\225\136\180" } },
  { "i_string_incomplete_surrogate_and_escape_valid", "[\"\\uD800\\n\"]", { "\239\191\189\n" } },
  { "i_string_incomplete_surrogates_escape_valid", "[\"\\uD800\\uD800\\n\"]", { "\239\191\189\239\191\189\n" } },
  { "i_string_inverted_surrogates_U+1D11E", "[\"\\uDd1e\\uD834\"]", { "\239\191\189\239\191\189" } },
  { "i_string_lone_second_surrogate", "[\"l\\uDFAAo\"]", { "l\239\191\189o" } },
  { "i_string_UTF-8_invalid_sequence", "[\"\255a\192\"]", { "\255a\192" } },
  { "i_string_overlong_sequence_2_bytes", "[\"\192\175\"]", { "\192\175" } },
  { "i_structure_500_nested_arrays", ("["):rep(500) .. ("]"):rep(500), nil },
  { "i_structure_UTF-8_BOM_empty_object", BOM .. "{}", {} },
}

-- ---- what is refused, and in a word why: "c" where it may be the beginning of something, else it is faulty

local refused = {
  { "n_array_1_true_without_comma", "[1 true]" },
  { "n_array_a_invalid_utf8", "[a\229]" },
  { "n_array_colon_instead_of_comma", "[\"\": 1]" },
  { "n_array_comma_after_close", "[\"\"]," },
  { "n_array_comma_and_number", "[,1]" },
  { "n_array_double_comma", "[1,,2]" },
  { "n_array_double_extra_comma", "[\"x\",,]" },
  { "n_array_extra_close", "[\"x\"]]" },
  { "n_array_extra_comma", "[\"\",]" },
  { "n_array_incomplete", "[\"x\"", "c" },
  { "n_array_incomplete_invalid_value", "[x" },
  { "n_array_inner_array_no_comma", "[3[4]]" },
  { "n_array_invalid_utf8", "[\255]" },
  { "n_array_items_separated_by_semicolon", "[1:2]" },
  { "n_array_just_comma", "[,]" },
  { "n_array_just_minus", "[-]" },
  { "n_array_missing_value", "[   , \"\"]" },
  { "n_array_newlines_unclosed", "[\"a\",\n4\n,1,", "c" },
  { "n_array_number_and_comma", "[1,]" },
  { "n_array_number_and_several_commas", "[1,,]" },
  { "n_array_spaces_vertical_tab_formfeed", "[\"\va\"\\f]" },
  { "n_array_star_inside", "[*]" },
  { "n_array_unclosed", "[\"\"", "c" },
  { "n_array_unclosed_trailing_comma", "[1,", "c" },
  { "n_array_unclosed_with_new_lines", "[1,\n1\n,1", "c" },
  { "n_array_unclosed_with_object_inside", "[{}", "c" },
  { "n_incomplete_false", "[fals]" },
  { "n_incomplete_null", "[nul]" },
  { "n_incomplete_true", "[tru]" },
  { "n_multidigit_number_then_00", "123\0" },
  { "n_number_++", "[++1234]" },
  { "n_number_+1", "[+1]" },
  { "n_number_+Inf", "[+Inf]" },
  { "n_number_-01", "[-01]" },
  { "n_number_-1.0.", "[-1.0.]" },
  { "n_number_-2.", "[-2.]" },
  { "n_number_-NaN", "[-NaN]" },
  { "n_number_.-1", "[.-1]" },
  { "n_number_.2e-3", "[.2e-3]" },
  { "n_number_0.1.2", "[0.1.2]" },
  { "n_number_0.3e+", "[0.3e+]" },
  { "n_number_0.3e", "[0.3e]" },
  { "n_number_0.e1", "[0.e1]" },
  { "n_number_0_capital_E+", "[0E+]" },
  { "n_number_0_capital_E", "[0E]" },
  { "n_number_0e+", "[0e+]" },
  { "n_number_0e", "[0e]" },
  { "n_number_1.0e+", "[1.0e+]" },
  { "n_number_1.0e-", "[1.0e-]" },
  { "n_number_1.0e", "[1.0e]" },
  { "n_number_1_000", "[1 000.0]" },
  { "n_number_1eE2", "[1eE2]" },
  { "n_number_2.e+3", "[2.e+3]" },
  { "n_number_2.e-3", "[2.e-3]" },
  { "n_number_2.e3", "[2.e3]" },
  { "n_number_9.e+", "[9.e+]" },
  { "n_number_Inf", "[Inf]" },
  { "n_number_NaN", "[NaN]" },
  { "n_number_U+FF11_fullwidth_digit_one", "[\239\188\145]" },
  { "n_number_expression", "[1+2]" },
  { "n_number_hex_1_digit", "[0x1]" },
  { "n_number_hex_2_digits", "[0x42]" },
  { "n_number_infinity", "[Infinity]" },
  { "n_number_invalid+-", "[0e+-1]" },
  { "n_number_invalid-negative-real", "[-123.123foo]" },
  { "n_number_invalid-utf-8-in-bigger-int", "[123\229]" },
  { "n_number_invalid-utf-8-in-exponent", "[1e1\229]" },
  { "n_number_invalid-utf-8-in-int", "[0\229]" },
  { "n_number_minus_infinity", "[-Infinity]" },
  { "n_number_minus_sign_with_trailing_garbage", "[-foo]" },
  { "n_number_minus_space_1", "[- 1]" },
  { "n_number_neg_int_starting_with_zero", "[-012]" },
  { "n_number_neg_real_without_int_part", "[-.123]" },
  { "n_number_neg_with_garbage_at_end", "[-1x]" },
  { "n_number_real_garbage_after_e", "[1ea]" },
  { "n_number_real_with_invalid_utf8_after_e", "[1e\229]" },
  { "n_number_real_without_fractional_part", "[1.]" },
  { "n_number_starting_with_dot", "[.123]" },
  { "n_number_with_alpha", "[1.2a-3]" },
  { "n_number_with_alpha_char", "[1.8011670033376514H-308]" },
  { "n_number_with_leading_zero", "[012]" },
  { "n_object_bad_value", "[\"x\", truth]" },
  { "n_object_bracket_key", "{[: \"x\"}" },
  { "n_object_comma_instead_of_colon", "{\"x\", null}" },
  { "n_object_double_colon", "{\"x\"::\"b\"}" },
  { "n_object_emoji", "{\240\159\135\168\240\159\135\173}" },
  { "n_object_garbage_at_end", "{\"a\":\"a\" 123}" },
  { "n_object_key_with_single_quotes", "{key: 'value'}" },
  { "n_object_lone_continuation_byte_in_key_and_trailing_comma", "{\"\185\":\"0\",}" },
  { "n_object_missing_colon", "{\"a\" b}" },
  { "n_object_missing_key", "{:\"b\"}" },
  { "n_object_missing_semicolon", "{\"a\" \"b\"}" },
  { "n_object_missing_value", "{\"a\":", "c" },
  { "n_object_no-colon", "{\"a\"", "c" },
  { "n_object_non_string_key", "{1:1}" },
  { "n_object_non_string_key_but_huge_number_instead", "{9999E9999:1}" },
  { "n_object_repeated_null_null", "{null:null,null:null}" },
  { "n_object_several_trailing_commas", "{\"id\":0,,,,,}" },
  { "n_object_single_quote", "{'a':0}" },
  { "n_object_trailing_comma", "{\"id\":0,}" },
  { "n_object_trailing_comment", "{\"a\":\"b\"}/**/" },
  { "n_object_trailing_comment_open", "{\"a\":\"b\"}/**//" },
  { "n_object_trailing_comment_slash_open", "{\"a\":\"b\"}//" },
  { "n_object_two_commas_in_a_row", "{\"a\":\"b\",,\"c\":\"d\"}" },
  { "n_object_unquoted_key", "{a: \"b\"}" },
  { "n_object_unterminated-value", "{\"a\":\"a", "c" },
  { "n_object_with_single_string", "{ \"foo\" : \"bar\", \"a\" }" },
  { "n_object_with_trailing_garbage", "{\"a\":\"b\"}#" },
  { "n_single_space", " ", "c" },
  { "n_string_1_surrogate_then_escape", "[\"\\uD800\\\"]", "c" },
  { "n_string_1_surrogate_then_escape_u", "[\"\\uD800\\u\"]" },
  { "n_string_1_surrogate_then_escape_u1", "[\"\\uD800\\u1\"]" },
  { "n_string_1_surrogate_then_escape_u1x", "[\"\\uD800\\u1x\"]" },
  { "n_string_accentuated_char_no_quotes", "[\195\169]" },
  { "n_string_backslash_00", "[\"\\\0\"]" },
  { "n_string_escape_x", "[\"\\x00\"]" },
  { "n_string_escaped_backslash_bad", "[\"\\\\\\\"]", "c" },
  { "n_string_escaped_ctrl_char_tab", "[\"\\\t\"]" },
  { "n_string_escaped_emoji", "[\"\\\240\159\140\128\"]" },
  { "n_string_incomplete_escape", "[\"\\\"]", "c" },
  { "n_string_incomplete_escaped_character", "[\"\\u00A\"]" },
  { "n_string_incomplete_surrogate", "[\"\\uD834\\uDd\"]" },
  { "n_string_incomplete_surrogate_escape_invalid", "[\"\\uD800\\uD800\\x\"]" },
  { "n_string_invalid-utf-8-in-escape", "[\"\\u\229\"]" },
  { "n_string_invalid_backslash_esc", "[\"\\a\"]" },
  { "n_string_invalid_unicode_escape", "[\"\\uqqqq\"]" },
  { "n_string_invalid_utf8_after_escape", "[\"\\\229\"]" },
  { "n_string_leading_uescaped_thinspace", "[\\u0020\"asd\"]" },
  { "n_string_no_quotes_with_bad_escape", "[\\n]" },
  { "n_string_single_doublequote", "\"", "c" },
  { "n_string_single_quote", "['single quote']" },
  { "n_string_single_string_no_double_quotes", "abc" },
  { "n_string_start_escape_unclosed", "[\"\\", "c" },
  { "n_string_unescaped_ctrl_char", "[\"a\0a\"]" },
  { "n_string_unescaped_newline", "[\"new\nline\"]" },
  { "n_string_unescaped_tab", "[\"\t\"]" },
  { "n_string_unicode_CapitalU", "\"\\UA66D\"" },
  { "n_string_with_trailing_garbage", "\"\"x" },
  { "n_structure_U+2060_word_joined", "[\226\129\160]" },
  { "n_structure_UTF8_BOM_no_data", BOM, "c" },
  { "n_structure_angle_bracket_.", "<.>" },
  { "n_structure_angle_bracket_null", "[<null>]" },
  { "n_structure_array_trailing_garbage", "[1]x" },
  { "n_structure_array_with_extra_array_close", "[1]]" },
  { "n_structure_array_with_unclosed_string", "[\"asd]", "c" },
  { "n_structure_ascii-unicode-identifier", "a\195\165" },
  { "n_structure_capitalized_True", "[True]" },
  { "n_structure_close_unopened_array", "1]" },
  { "n_structure_comma_instead_of_closing_brace", "{\"x\": true,", "c" },
  { "n_structure_double_array", "[][]" },
  { "n_structure_end_array", "]" },
  { "n_structure_incomplete_UTF8_BOM", "\239\187{}" },
  { "n_structure_lone-invalid-utf-8", "\229" },
  { "n_structure_lone-open-bracket", "[", "c" },
  { "n_structure_no_data", "", "c" },
  { "n_structure_null-byte-outside-string", "[\0]" },
  { "n_structure_number_with_trailing_garbage", "2@" },
  { "n_structure_object_followed_by_closing_object", "{}}" },
  { "n_structure_object_unclosed_no_value", "{\"\":", "c" },
  { "n_structure_object_with_comment", "{\"a\":/*comment*/\"b\"}" },
  { "n_structure_object_with_trailing_garbage", "{\"a\": true} \"x\"" },
  { "n_structure_open_array_apostrophe", "['" },
  { "n_structure_open_array_comma", "[," },
  { "n_structure_open_array_open_object", "[{", "c" },
  { "n_structure_open_array_open_string", "[\"a", "c" },
  { "n_structure_open_array_string", "[\"a\"", "c" },
  { "n_structure_open_object", "{", "c" },
  { "n_structure_open_object_close_array", "{]" },
  { "n_structure_open_object_comma", "{," },
  { "n_structure_open_object_open_array", "{[" },
  { "n_structure_open_object_open_string", "{\"a", "c" },
  { "n_structure_open_object_string_with_apostrophes", "{'a'" },
  { "n_structure_open_open", "[\"\\{[\"\\{[\"\\{[\"\\{" },
  { "n_structure_single_eacute", "\195\169" },
  { "n_structure_single_star", "*" },
  { "n_structure_trailing_#", "{\"a\":\"b\"}#{}" },
  { "n_structure_uescaped_LF_before_string", "[\\u000A\"\"]" },
  { "n_structure_unclosed_array", "[1", "c" },
  { "n_structure_unclosed_array_partial_null", "[ false, nul", "c" },
  { "n_structure_unclosed_array_unfinished_false", "[ true, fals", "c" },
  { "n_structure_unclosed_array_unfinished_true", "[ false, tru", "c" },
  { "n_structure_unclosed_object", "{\"asd\":\"asd\"", "c" },
  { "n_structure_unicode-identifier", "\195\165" },
  { "n_structure_whitespace_U+2060_word_joiner", "\226\129\160" },
  { "n_structure_whitespace_formfeed", "[\f]" },
}

local function check_failure(text, why, opts)
  local value, message, place, reason = decode(text, opts)
  assert.is_nil(value)
  assert.equal(why, reason)
  assert.truthy(#message < 300 and not message:find "[\r\n]", message)
  assert.truthy(place >= 1 and place <= #text + 1, "a place outside of the text")
  return message, place
end

describe("the JSON reader takes", function()
  for _, row in ipairs(taken) do
    it(row[1], function()
      local value, message = decode(row[2])
      assert.is_nil(message)
      if row[3] ~= nil then assert.same(row[3], value) end
    end)
  end
end)

describe("the JSON reader refuses", function()
  for _, row in ipairs(refused) do
    it(row[1], function() check_failure(row[2], row[3] == "c" and "cut" or "syntax") end)
  end
end)

-- ---- against lua-cjson

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b or a ~= a and b ~= b end
  for key, value in pairs(a) do if not same(value, b[key]) then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

local function against_cjson(text)
  local expected = cjson.decode(text)
  local value, message = decode(text)
  if expected == nil then return end
  assert.is_nil(message)
  if not same(value, expected) then error(("another value of %q"):format(text)) end
end

local seed = 20230929
local function random(n)
  seed = seed * 16807 % 2147483647
  return seed % n + 1
end

local strings = { "", "a", "\\n", "\\\"", "\\\\", "\\u00e4", "\\ud83d\\ude00", "\195\164", "/", "id", ("x"):rep(100) }
local scalars = { "0", "-1", "12.5", "1e3", "1E-7", "-0.0", "123456789012", "1.7976931348623157e308", "5e-324",
  "0.1", "3.141592653589793", "true", "false", "null" }
local spaces = { "", "", "", " ", "\n", "\t\r\n  " }

local function text_of(depth)
  local kind = random(depth > 0 and 4 or 2)
  local function space() return spaces[random(#spaces)] end
  if kind == 1 then return scalars[random(#scalars)] end
  if kind == 2 then return '"' .. strings[random(#strings)] .. strings[random(#strings)] .. '"' end
  local items = {}
  for i = 1, random(5) - 1 do
    local name = kind == 4 and '"' .. strings[random(#strings)] .. i .. '"' .. space() .. ":" .. space() or ""
    items[i] = space() .. name .. text_of(depth - 1) .. space()
  end
  local body = table.concat(items, ",")
  return kind == 3 and "[" .. body .. space() .. "]" or "{" .. body .. space() .. "}"
end

local function replies()
  return {
    [[{"id":"chatcmpl-1","object":"chat.completion","created":1696004797,"model":"m","choices":[{"index":0,"message":]]
      .. [[{"role":"assistant","content":"A \"jet\".\nM87 \u2014 ✓","tool_calls":[{"id":"c","type":"function",]]
      .. [["function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"stop","logprobs":null}],]]
      .. [["usage":{"prompt_tokens":16,"completion_tokens":3,"total_tokens":19,"details":{}}}]],
    [[{"error":{"message":"no","type":"BadRequestError","param":null,"code":400}}]],
    [[{"choices":[{"logprobs":{"content":[{"token":"a","logprob":-0.123456789012345678,"bytes":[97],]]
      .. [["top_logprobs":[]}]}}]}]],
    [=[[[[]],{"a":{}},[{},[]]]]=],
  }
end

describe("against lua-cjson", function()
  it("the documents of the suite", function()
    for _, row in ipairs(taken) do against_cjson(row[2]) end
  end)

  it("replies, and every beginning of each, which is cut and nothing else", function()
    for _, text in ipairs(replies()) do
      against_cjson(text)
      for i = 0, #text - 1 do check_failure(text:sub(1, i), "cut") end
    end
  end)

  it("pseudo-random documents, and their beginnings", function()
    for _ = 1, 2000 do
      local text = text_of(4)
      against_cjson(text)
      local cut = text:sub(1, random(#text) - 1)
      local value, _, place, why = decode(cut)
      if value == nil and (why ~= "cut" or place ~= #cut + 1) then error(("%q: %s"):format(cut, why)) end
    end
  end)

  it("numbers as strtod reads them", function()
    for _ = 1, 3000 do
      local digits = {}
      for i = 1, random(25) do digits[i] = random(10) - 1 end
      local fraction = table.concat(digits)
      for _, text in ipairs { "0." .. fraction, random(99999) .. "." .. fraction, "0.0000" .. fraction,
        random(9) .. "." .. fraction .. "e" .. random(620) - 320, "-" .. random(9) .. fraction } do
        if decode(text) ~= tonumber(text) then error(text) end
      end
    end
    for _, text in ipairs { "9007199254740993", "9007199254740993.0", "9007199254740993.00000000000000000000000000001",
      "2.2250738585072011e-308", "2.4703282292062327e-324", "2.4703282292062328e-324", "1.7976931348623158e308",
      "1.7976931348623159e308", "0.500000000000000166533453693773481063544750213623046875" } do
      if decode(text) ~= tonumber(text) then error(text) end
    end
  end)
end)

-- ---- what is exact, and what is clean

describe("numbers", function()
  it("keep all digits that Lua has", function()
    for _, text in ipairs { "0", "7", "9007199254740993", "9223372036854775807", "-9223372036854775808" } do
      local value = decode("[" .. text .. "]")[1]
      if has_integers then
        assert.equal("integer", math.type(value))
        assert.equal(text, tostring(value))
      else
        assert.equal(tonumber(text), value)
      end
    end
  end)

  it("that are no integers stay floats", function()
    for _, text in ipairs { "1.0", "1e3", "9223372036854775808", "-9223372036854775809", "-0" } do
      if has_integers then assert.equal("float", math.type(decode(text))) end
      assert.equal(tonumber(text), decode(text))
    end
    assert.equal(-math.huge, 1 / decode "-0")
  end)

  it("that are whole are integers when clean", function()
    for text, printed in pairs { ["1.0"] = "1", ["1e3"] = "1000", ["-0"] = has_integers and "0" or nil,
      ["-2.50e1"] = "-25", ["0.5"] = "0.5" } do
      assert.equal(printed, tostring(decode(text, { clean = true })))
    end
    for _, text in ipairs { "1e300", "9223372036854775808", "1e999", "-1e999" } do
      assert.equal(tonumber(text), decode(text, { clean = true }))
    end
  end)

  it("that JSON has not are taken from replies only", function()
    local lenient = { lenient = true, clean = true }
    assert.same({ math.huge, -math.huge }, decode("[Infinity,-Infinity]", lenient))
    local value = decode("{\"a\":NaN}", lenient).a
    assert.truthy(value ~= value)
    for _, text in ipairs { "Infinit", "-Inf", "Na", "[-I" } do check_failure(text, "cut", lenient) end
    for _, text in ipairs { "nan", "inf", "Infinite", "-NaN", "+Infinity", "-infinity", "Nan" } do
      check_failure(text, "syntax", lenient)
    end
  end)

  it("do not depend on the locale", function()
    local before = os.setlocale(nil, "numeric")
    local found
    for _, name in ipairs { "de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8" } do
      found = found or os.setlocale(name, "numeric")
    end
    local values = { decode "1.5", decode "0.1234567890123456789012345", decode "1.5e300" }
    os.setlocale(before, "numeric")
    assert.same({ 1.5, 0.1234567890123456789012345, 1.5e300 }, values)
    if not found then pending "no locale with a decimal comma is installed" end
  end)
end)

describe("values", function()
  it("have null, the same as cjson's", function()
    assert.equal(cjson.null, decode "null")
    assert.equal(cjson.null, null)
    assert.equal(null, decode("{\"a\":null}").a)
  end)

  it("have their empty lists marked", function()
    assert.equal(array_mt, getmetatable(decode "[]"))
    assert.equal(array_mt, getmetatable(decode("{\"a\":[[ ]]}", { clean = true }).a[1]))
    assert.is_nil(getmetatable(decode "{}"))
    assert.is_nil(getmetatable(decode "[1]"))
    assert.is_nil(getmetatable(decode "[null]"))
    assert.equal("lmm.array", array_mt.__name)
  end)

  it("lose their nulls when clean, and lists keep their places", function()
    local clean = { clean = true }
    assert.same({ b = { d = 1 } }, decode("{\"a\":null,\"b\":{\"c\":null,\"d\":1}}", clean))
    local value = decode("[null,1,[null],null,\"x\"]", clean)
    assert.same({ nil, 1, {}, nil, "x" }, value)
    assert.equal(array_mt, getmetatable(value[3])) -- it would be written as an object
    assert.same({}, decode("{\"a\":1,\"a\":null}", clean))
    assert.same({ a = 1 }, decode("{\"a\":null,\"a\":1}", clean))
    assert.equal(1, select("#", decode("null", clean)))
    assert.is_nil((decode("null", clean)))
  end)

  it("have strings longer than any buffer of ours, with and without escapes", function()
    for _, length in ipairs { 1, 7, 8, 9, 1023, 1024, 1025, 100000 } do
      local text = ("x"):rep(length)
      assert.truthy(decode('"' .. text .. '"') == text)
      assert.truthy(decode('["' .. text .. '\\n","\\n' .. text .. text .. '"]')[2] == "\n" .. text .. text)
      assert.truthy(decode('"' .. ("\\u00e4"):rep(length) .. '"') == ("\195\164"):rep(length))
    end
  end)
end)

describe("a failure", function()
  for _, row in ipairs {
    { "[1 2]", 4, "a comma or ] expected at byte 4 of the JSON, not 2" },
    { "{\"a\":1 \"b\"}", 8, "a comma or } expected at byte 8 of the JSON, not \"" },
    { "{\"a\" 1}", 6, "a colon expected at byte 6 of the JSON, not 1" },
    { "{1:2}", 2, "a name in quotes or } expected at byte 2 of the JSON, not 1" },
    { "{\"a\":1,}", 8, "a name in quotes expected at byte 8 of the JSON, not }" },
    { "<html>", 1, "a value expected at byte 1 of the JSON, not <" },
    { "[tru]", 5, "true expected at byte 5 of the JSON, not ]" },
    { "[1.x]", 4, "a digit expected at byte 4 of the JSON, not x" },
    { "\"\\q\"", 3, "an escape as in JSON expected at byte 3 of the JSON, not q" },
    { "\"\\u00g0\"", 6, "an escape as in JSON expected at byte 6 of the JSON, not g" },
    { "\"a\nb\"", 3, "no control character expected at byte 3 of the JSON, not the byte 0x0a" },
    { "[] []", 4, "the end expected at byte 4 of the JSON, not [" },
    { "{\"a\":[1", 8, "the JSON ended within a list, after byte 7" },
    { "{\"a\"", 5, "the JSON ended within an object, after byte 4" },
    { "\"ab", 4, "the JSON ended within a string, after byte 3" },
    { "[1e", 4, "the JSON ended within a number, after byte 3" },
    { "nul", 4, "the JSON ended within null, after byte 3" },
    { " ", 2, "the JSON ended before it began, after byte 1" },
  } do
    it(("names the place: %q"):format(row[1]), function()
      local _, message, place = decode(row[1])
      assert.same({ row[3], row[2] }, { message, place })
    end)
  end

  it("of nesting names the limit", function()
    for _, text in ipairs { ("["):rep(1001), ("{\"a\":"):rep(1001), ("["):rep(1000) .. "{" } do
      assert.matches("nested more than 1000 deep", (check_failure(text, "limit")))
    end
    assert.matches("more than 2 deep, at byte 3", (check_failure("[[[1]]]", "limit", { depth = 2 })))
    assert.same({ { { 1 } } }, decode("[[[1]]]", { depth = 3 }))
    assert.is_table(decode(("["):rep(1000) .. ("]"):rep(1000)))
    assert.is_table(decode(("["):rep(1500) .. ("]"):rep(1500), { depth = 2000 }))
  end)

  it("of nesting beyond Lua's own stack is no crash", function()
    local value, _, _, why = decode(("["):rep(900000), { depth = 1e9 })
    assert.is_nil(value)
    assert.truthy(why == "limit" or why == "cut")
  end)

  it("is raised for misuse", function()
    assert.raises("string", decode)
    assert.raises("string", decode, {})
    assert.raises("table", decode, "1", true)
    assert.raises("depth", decode, "1", { depth = 0 })
    assert.raises("number", decode, "1", { depth = "many" })
  end)
end)

-- ---- input that means harm: linear time, no crash, and nothing kept

describe("hostile input:", function()
  local MIB = 1024 * 1024
  after_each(function() collectgarbage() end)

  it("100 MiB of [", function() check_failure(("["):rep(100 * MIB), "limit") end)
  it("100 MiB of {\"\":", function() check_failure(("{\"\":"):rep(25 * MIB), "limit") end)
  it("100 MiB of [{\"\":", function() check_failure(("[{\"\":"):rep(20 * MIB), "limit") end)
  it("100 MiB of \"\\u", function() check_failure(("\"\\u"):rep(33 * MIB), "syntax") end)
  it("100 MiB of quotes", function() check_failure(("\""):rep(100 * MIB), "syntax") end)
  it("100 MiB of backslashes in a string", function() check_failure("\"" .. ("\\"):rep(100 * MIB), "cut") end)
  it("100 MiB of high halves", function()
    local value = decode("\"" .. ("\\ud83d"):rep(16 * MIB) .. "\"")
    assert.equal(3 * 16 * MIB, #value)
  end)
  it("100 MiB of digits", function()
    assert.equal(math.huge, decode(("9"):rep(100 * MIB)))
    assert.equal(0.1, decode("0.1" .. ("0"):rep(50 * MIB)))
    assert.equal(1, decode("1" .. ("0"):rep(MIB) .. "e-" .. MIB))
    assert.equal(math.huge, decode("1e" .. ("9"):rep(50 * MIB)))
  end)
  it("100 MiB of white space", function() check_failure((" \n"):rep(50 * MIB), "cut") end)
  it("a million equal names", function()
    assert.same({ a = 1 }, decode("{" .. ("\"a\":0,"):rep(1000000) .. "\"a\":1}"))
    assert.same({}, decode("{" .. ("\"a\":0,"):rep(1000000) .. "\"a\":null}", { clean = true }))
  end)
  it("every byte in every place of a document, and in place of each", function()
    local text = "{\"a\":[1,-2.5e3,true,null,\"\\u00e4x\"],\"b\":{}}"
    for i = 1, #text do
      for byte = 0, 255 do
        local c = string.char(byte)
        local before = text:sub(1, i - 1) .. c
        for _, changed in ipairs { before .. text:sub(i), before .. text:sub(i + 1) } do
          local value, message, _, why = decode(changed)
          if (value == nil) ~= (message ~= nil) or why == "limit" then error(("%q"):format(changed)) end
          if cjson.decode(changed) ~= nil and value == nil and not changed:find "%.e" then
            local odd = changed:find "%d[xX]" or changed:find "[nN][aA][nN]" or changed:find "[iI]nf"
              or changed:find "%f[%d]0%d" or changed:find "%d%.%D" or changed:find "[%[,-]%." or changed:find "[%[,]%+"
              or changed:find "\0" or changed:find "[\1-\31]"
            if not odd then error(("cjson takes %q"):format(changed)) end
          end
        end
      end
    end
  end)
end)
