// What the service says in sentences, in Chinese. It says them in English, each in one form, with values in it: [form, Chinese];
// {} stands for a value, {0} for the first of them. A value may be such a sentence itself. Sentences of errors are found by code.
const FORMS = [
  // Drift
  ["{} (only outputs are watched: the texts are not kept, or too few are)", "{0}（只监测输出：文本未保留，或保留的太少）"],
  ["no detector finds more than chance", "没有检测器发现超出偶然的变化"],
  ["there is too little to compare", "可比较的数据太少"],
  ["{} was made by a release that kept no profile, or has too few held-out rows for one", "{0} 由不保存参照的旧版程序生成，或留出集太小"],
  ["HONE_DRIFT_WINDOW_ROWS is 0, so nothing is looked at", "HONE_DRIFT_WINDOW_ROWS 为 0，因此不作检查"],
  ["HONE_LOG_PREDICTIONS is false, so there is nothing to look at", "HONE_LOG_PREDICTIONS 为 false，因此没有可检查的内容"],
  ["the first window is not complete yet", "第一个窗口尚未攒满"],
  ["a run was started because of it", "已因此启动一次学习"],
  ["a run that started for another reason learns from all there is", "因其他原因启动的一次学习会学习现有的全部内容"],
  ["another reference", "换了参照"],
  // When the next run comes
  ["{} corrections since the last run; {} start one", "上次学习之后有 {0} 条更正；满 {1} 条即启动"],
  ["drift alarm {} ({}) and {} corrections since the last run", "漂移警报 {0}（{1}），且上次学习之后有 {2} 条更正"],
  ["{} of the {} corrections that start a run", "启动一次学习需要 {1} 条更正，已有 {0} 条"],
  ["{} s since the last run", "距上次学习 {0} 秒"],
  ["the schedule {}", "定时 {0}"],
  ["{}, next {} UTC", "{0}，下次 {1}（UTC）"],
  ["runs start by hand alone", "只能手动启动"],
  ["a run is queued", "有一次学习在排队"],
  ["a run is running", "有一次学习正在进行"],
  ["quiet hours until {}", "静默时段，到 {0} 为止"],
  ["the last run failed or changed nothing; waiting {} s after it", "上一次学习失败或没有带来变化；之后等待 {0} 秒"],
  ["the last {} runs failed or changed nothing; waiting {} s after it", "最近 {0} 次学习失败或没有带来变化；之后等待 {1} 秒"],
  ["{} of {} s of training are left today, and a run takes about {} s", "今天 {1} 秒的训练时间还剩 {0} 秒，而一次学习约需 {2} 秒"],
  // Why this speed
  ["head: {}; no gap is certain", "只训练分类头：{0}；看不出确定的差距"],
  ["head: {}, but {} new labelled texts are too few; {} are needed", "只训练分类头：{0}，但 {1} 条新标注文本太少，需要 {2} 条"],
  ["head: {}, but {} new labelled texts are too few after {} in vain; {} are needed", "只训练分类头：{0}，但此前 {2} 次无果，{1} 条新标注文本太少，需要 {3} 条"],
  ["head: {}, but the encoder would close {} of it at most", "只训练分类头：{0}，但训练编码器最多补上其中 {1}"],
  ["head: {}, but a full run takes about {} s and {} s are left of today's budget", "只训练分类头：{0}，但全量训练约需 {1} 秒，今天的额度只剩 {2} 秒"],
  ["full: {}, with a drift alarm open", "全量训练：{0}，且有未处理的漂移警报"],
  ["full: {}", "全量训练：{0}"],
  ["{}, and at least {} of that is a gap", "{0}，其中至少 {1} 是差距"],
  ["{} of held-out texts are wrong, and the encoder was never trained on these labels", "留出的文本有 {0} 答错，而编码器从未用这些标签训练过"],
  ["no recent text tells how it does", "没有近期文本可以说明它的表现"],
  ["of {} recent texts it gets {} wrong, usual are {}", "{0} 条近期文本中答错 {1}，平常为 {2}"],
  ["the head gets {} of {} texts of new labels wrong, of all labels {} are usual", "新标签的 {1} 条文本中分类头答错 {0} 条，全部标签平常为 {2}"],
  ["{} of {} labels are new to the encoder, and no text tells how the head does", "{1} 个标签中有 {0} 个编码器没见过，也没有文本可以说明分类头的表现"],
  // How a run ended
  ["the run was stopped while it was at: {}", "任务在这一步被停止：{0}"],
  ["data was erased that the run may have seen; start another, which learns from what is left", "任务可能看过的数据已被删除；请另启动一次，它只学习剩下的数据"],
  ["there is no champion to learn from; teach one first with hone train", "没有可供继续学习的线上版本；请先用 hone train 训练一个"],
  ["the lease was lost while it trained; another learner may be at work", "训练期间失去了租约；可能有另一个学习进程在工作"],
  ["unexpected {}; see the learner's log", "意外错误 {0}；详见学习进程的日志"],
  ["unexpected {}; see the log of training", "意外错误 {0}；详见训练日志"],
  ["the learner was stopped", "学习进程被停止"],
  ["the learner that was at it died", "负责它的学习进程意外终止"],
  ["the learner that was at it died when it had registered {}, before it promoted it", "负责它的学习进程在登记 {0} 之后、上线之前意外终止"],
  ["snapshot", "快照"], ["choose", "选择方式"], ["encode", "编码"], ["finetune", "微调"], ["export", "导出"], ["gate", "门禁"],
  // The gate
  ["passed on {}", "通过，依据：{0}"],
  ["failed {}", "未通过：{0}"],
  ["no evidence that it is better", "没有证据表明它更好"],
  ["first version", "第一个版本"],
  ["{} holdout rows to judge on", "可用于评判的留出集数据 {0} 条"],
  ["share of rows on which the exported engine gives the label torch gives", "导出的引擎与 torch 给出同一标签的比例"],
  ["accuracy on {} holdout rows against always naming the commonest label", "在 {0} 条留出集数据上的准确率，与总是回答最常见标签相比"],
  ["of {} holdout rows it puts {} right and {} wrong: {} points, at worst {}; recent traffic gains {} points at least", "{0} 条留出集数据中改对 {1} 条、改错 {2} 条：{3} 个百分点，最差 {4}；近期流量至少提高 {5} 个百分点"],
  ["of {} holdout rows it puts {} right and {} wrong: {} points, at worst {}", "{0} 条留出集数据中改对 {1} 条、改错 {2} 条：{3} 个百分点，最差 {4}"],
  ["of {} holdout rows it puts {} right and {} wrong: {} points, at worst {}; recent traffic is answered better, and of this {} points are no chance", "{0} 条留出集数据中改对 {1} 条、改错 {2} 条：{3} 个百分点，最差 {4}；近期流量答得更好，其中 {5} 个百分点不是偶然"],
  ["of {} recent predictions that chance drew it puts {} right and {} wrong", "随机抽取的 {0} 条近期预测中改对 {1} 条、改错 {2} 条"],
  ["no class loses significantly", "没有类别显著变差"],
  ["recall of {} falls by {} points on {} rows", "{0} 的召回率在 {2} 条数据上下降 {1} 个百分点"],
  ["{} points on the holdout, where it gains most", "留出集数据上 {0} 个百分点，提高最多之处"],
  ["{} points on recent predictions, where it gains most", "近期预测上 {0} 个百分点，提高最多之处"],
  ["{} points on new labels, where it gains most", "新标签上 {0} 个百分点，提高最多之处"],
  ["{}: too few to say that it is too low", "{0}：数据太少，不能说它太低"],
  ["recall of {}, which the champion does not know, is {}% on {} rows", "线上版本不认识的 {0}，在 {2} 条数据上的召回率为 {1}%"],
  ["recall of {} is {} points below that of {} on {} rows", "{0} 的召回率在 {3} 条数据上比 {2} 低 {1} 个百分点"],
  ["against {}, the best that served: {} points on the holdout, at best {}", "与曾经上线的最佳版本 {0} 相比：留出集数据上 {1} 个百分点，最好 {2}"],
  ["accuracy on {} falls by {} points on {} rows", "{0} 上的准确率在 {2} 条数据上下降 {1} 个百分点"],
  ["none of {} slices loses significantly", "{0} 个分组都没有显著变差"],
  ["the holdout has no slices to look at", "留出集数据没有可看的分组"],
  ["{} of {} rows that were right turn wrong, and {} that were wrong turn right", "原本答对的数据中有 {0} 条变错（共 {1} 条），原本答错的有 {2} 条变对"],
  ["expected calibration error on the holdout, {} before and {} now", "留出集数据上的校准误差，之前 {0}，现在 {1}"],
  ["bytes on disk against the champion's", "与线上版本相比所占磁盘"],
  ["time to answer the same texts against the champion's, medians of rounds in turns", "与线上版本相比回答同样文本的时间，轮流多轮的中位数"],
  ["{}; but of {} rows that chance drew it puts {} wrong and {} right, which leaves a loss of {} points possible ({}% certainty): more audited rows, or a person, can tell", "{0}；但在随机抽取的 {1} 条数据中改错 {2} 条、改对 {3} 条，仍可能损失 {4} 个百分点（{5}% 把握）：需要更多抽检，或由人决定"],
  ["chance of {} against {} or better between equal models (exact McNemar), look {}", "两个模型同样好时出现 {0} 比 {1} 或更好结果的概率（精确 McNemar 检验），第 {2} 次查看"],
  ["chance that {} holdout rows find their right labels likelier by {} nats or more between equal models (sign flips), look {}; {} are put right and {} wrong", "两个模型同样好时，{0} 条留出数据中正确标签的对数概率平均提高 {1} 奈特或更多的概率（符号翻转检验），第 {2} 次查看；改对 {3} 条、改错 {4} 条"],
  ["chance that {} predictions, drawn by chance and not learned from, find their right labels likelier by {} nats or more between equal models (sign flips), look {}; {} are put right and {} wrong", "两个模型同样好时，{0} 条随机抽取且未学过的预测中正确标签的对数概率平均提高 {1} 奈特或更多的概率（符号翻转检验），第 {2} 次查看；改对 {3} 条、改错 {4} 条"],
  ["chance that {} predictions, drawn by chance and not learned from, find their right labels likelier by {} nats or more between equal models (sign flips), look {}; {} are put right and {} wrong, so likelier is not better", "两个模型同样好时，{0} 条随机抽取且未学过的预测中正确标签的对数概率平均提高 {1} 奈特或更多的概率（符号翻转检验），第 {2} 次查看；改对 {3} 条、改错 {4} 条，所以概率更高并不代表更好"],
  ["chance of {} against {} of {} recent predictions, drawn by chance and not learned from, or better between equal models (exact McNemar), look {}", "两个模型同样好时，在随机抽取且未学过的 {2} 条近期预测上出现 {0} 比 {1} 或更好结果的概率（精确 McNemar 检验），第 {3} 次查看"],
  ["it puts {} of {} corrected answers right that it did not learn from, and {} of {} errors on the holdout (beta-binomial), look {}", "未学过的 {1} 条被更正的答案中改对 {0} 条，留出集数据的 {3} 个错误中改对 {2} 个（贝塔二项分布），第 {4} 次查看"],
  ["of {} rows whose labels the champion does not know it puts {} right, and calls {} of {} holdout rows by such a label (beta-binomial), look {}", "线上版本不认识其标签的 {0} 条数据中答对 {1} 条，{3} 条留出集数据中有 {2} 条被答成这类标签（贝塔二项分布），第 {4} 次查看"],
  // Corrections that are held back
  ["the text is held out to measure by, and its label there is another one", "该文本留作评测用，在那里的标签不同"],
  ["of {} votes that others or the holdout can judge, about {} are right", "在可由他人或留出集数据评判的 {0} 次标注中，约 {1} 正确"],
  ["of {} texts that chance drew for this annotator {} were given another label than the model's; where others were asked, at most {}", "随机抽给该标注者的 {0} 条文本中，有 {1} 条与模型答案不同；其他标注者最多 {2}"],
  ["more than {} came from one annotator within {} s", "同一标注者在 {1} 秒内给出超过 {0} 条"],
  ["{}, which had not learned it, is {} sure of another label, and nobody else agrees", "没有学过它的 {0} 有 {1} 的把握是另一个标签，且无人赞同这条更正"],
  ["a text that is all but the same was given another label by as many people or more", "几乎相同的文本被同样多或更多的人标为另一个标签"],
  ["{} annotators differ; the likeliest label has a probability of {}", "{0} 位标注者意见不同；可能性最大的标签概率为 {1}"],
  // What became of versions
  ["its engine failed on {} of {} requests; {} is allowed", "{1} 个请求中有 {0} 个引擎出错；允许 {2}"],
  ["it was slower than the version before on {} of {} texts; {} is allowed", "{1} 条文本中有 {0} 条比上一版本慢；允许 {2}"],
  ["it was less sure by more than {} on {} of {} texts; {} is allowed", "{2} 条文本中有 {1} 条把握下降超过 {0}；允许 {3}"],
  ["it contradicted the version before on {} of {} texts; {} is allowed", "{1} 条文本中有 {0} 条与上一版本不同；允许 {2}"],
  ["it moved other labels to one and the same label on {} of {} texts; {} is allowed", "{1} 条文本中有 {0} 条从别的标签变成同一个标签；允许 {2}"],
  ["{}; it cannot be rolled back: {}", "{0}；无法回滚：{1}"],
  ["{} requests, {} texts compared with {}, no limit passed", "{0} 个请求，{1} 条文本与 {2} 比较，没有超出限度"],
  ["watched beside {} until {} UTC", "与 {0} 一同观察，到 {1}（UTC）为止"],
  ["{} of the requests", "请求的 {0}"],
  ["as challenger: {}", "作为挑战者：{0}"],
  ["{}; {} neither: {}", "{0}；{1} 也不行：{2}"],
  ["{} while loading", "加载时出错：{0}"],
  ["it did not load within {} s", "未能在 {0} 秒内加载"],
  ["{} loads hang already; this replica must be started anew to try another", "已有 {0} 次加载卡住；要再试须重新启动这个副本"],
  ["its engine failed on a request ({})", "它的引擎在一个请求上出错（{0}）"],
].map(([form, chinese]) => [compiled(form), chinese]);

// Errors by their stable codes; the service's own words follow, since they name what was sent and what is allowed.
const ERRORS = {
  internal: "服务内部出错",
  invalid_input: "发送的内容无法使用",
  malformed_body: "请求内容的格式不对",
  unsupported_media_type: "不支持这种内容类型",
  body_too_large: "请求内容太大",
  invalid_text: "文本为空、太长或含有不允许的字符",
  text_too_long: "文本太长，模型读不完",
  text_not_kept: "这条预测的文本没有保留，更正时必须附上文本",
  too_many_texts: "一次请求的文本太多",
  unknown_label: "没有这个标签",
  too_many_tokens: "一次请求的词元太多",
  headers_too_large: "请求头太大",
  invalid_header: "请求头的内容不对",
  body_too_slow: "请求内容到得太慢",
  unauthenticated: "需要有效的 API 密钥",
  role_missing: "这个密钥的权限不够",
  foreign_host: "没有密钥时只接受发往本机的请求",
  not_found: "没有找到",
  unknown_prediction: "没有这条预测",
  unknown_version: "没有这个版本",
  unknown_run: "没有这个学习任务",
  unknown_key: "没有这个密钥",
  unknown_route: "没有这个路径",
  conflict: "与已有的记录矛盾",
  idempotency_conflict: "同一个幂等键用在了不同的内容上",
  nothing_to_roll_back: "没有可以回滚的版本",
  gate_refused: "门禁没有通过这个版本",
  approval_needed: "这个版本需要有人签字",
  approval_stale: "这个版本是与另一个线上版本比较的",
  run_not_active: "这个学习任务已经结束",
  run_not_repeatable: "这个学习任务不能继续或重复",
  checkpoint_unusable: "检查点无法使用",
  unavailable: "现在无法回答，请稍后再试",
  no_model: "还没有可用的版本",
  store_unavailable: "反馈存储没有响应，什么也没有写入",
  overloaded: "等待的请求太多，请稍后再试",
  key_busy: "这个密钥同时进行的请求太多",
  deadline_exceeded: "没能及时给出答案",
  bad_data: "数据文件无法使用",
  bad_bundle: "模型文件不完整或被改动",
  bad_encoder: "找不到或读不了编码器",
  bundles_unavailable: "模型包存储没有响应；正在服务的版本继续服务，暂时不能切换版本",
  registry_changed: "另一个节点刚刚改动了版本登记；请查看后重试",
  keys_damaged: "密钥文件损坏",
  subjects_damaged: "化名所用的密钥丢失或损坏",
  trail_broken: "审计记录被改动",
  backup_damaged: "备份损坏",
  lease_held: "另一个学习进程正在工作",
  run_cancelled: "任务被停止",
  workers_failed: "一起训练的工作进程没有位置，或失败次数太多",
  search_failed: "试验没有做完；已有的结果保留",
};

// Returns a sentence of the service's in a language; what has no form here, such as what a person wrote, stays as it is.
export function told(sentence, language) {
  if (language !== "zh" || !sentence) return sentence;
  for (const [form, chinese] of FORMS) {
    const found = form.exec(sentence);
    if (found) return chinese.replace(/\{(\d)\}/g, (_, place) => told(found[Number(place) + 1], language));
  }
  // Several at once are joined by semicolons.
  const parts = sentence.split("; ");
  if (parts.length === 1) return sentence;
  const found = parts.map((part) => told(part, language));
  return found.some((part, place) => part !== parts[place]) ? found.join("；") : sentence;
}

// Returns what an error says in a language.
export function toldError({ code, message }, language) {
  const own = told(message, language);
  if (language !== "zh" || own !== message || !ERRORS[code]) return own;
  return `${ERRORS[code]}（${message}）`;
}

function compiled(form) {
  const literal = form.split("{}").map((part) => part.replace(/[.*+?^$()|[\]\\/{}]/g, "\\$&"));
  return new RegExp(`^${literal.join("(.+?)")}$`, "s");
}
