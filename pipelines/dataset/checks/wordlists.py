"""Words that decide whether two questions ask the same: light words, synonyms, contrasts.

General vocabulary of questions in English and Chinese, no subject's own. A group of synonyms
counts as one word. Of two words in contrast, one in each question, the questions differ,
however alike they sound.
"""

from __future__ import annotations

# Grammar, politeness, and the nouns that only say what kind of answer is wanted.
_LIGHT_EN = """
a an the of to in on at for from by with as into onto upon about is are was were be been being am do does
did done doing has have had having can could may might must should shall will would i me my mine we us our
you your he him his she her hers it its they them their theirs one ones one's someone somebody person people
thing things this that these those there here what which who whom whose when where why how if whether so and
or but than then also too any some such get gets got getting during per please kindly tell know explain
describe say let help wonder wondering like want need needed needs require required requires exactly
precisely actually really just simply possible possibly way ways manner means procedure process method step
steps reason reasons kind kinds type types sort sorts name names named called number amount quantity count
question answer information detail details hello hi thanks thank give
"""

# Each line is one meaning; its first word stands for all.
_SYNONYMS_EN = """
begin start commence starting beginning
end finish expire conclude terminate ending
big large huge
small little tiny
main primary principal chief major
aim goal objective target
cost price fee charge expense
buy purchase
allow permit permitted allowed authorise authorize
found founded establish
fix repair mend
show display
choose select pick chosen
fast quick rapid quickly
error mistake
doctor physician
film movie
firm company business enterprise
pupil student
benefit advantage
drawback disadvantage downside
sign symptom
happen occur
obtain receive acquire
function work operate
often frequent frequently
customary usual
close shut
near nearby
nearest closest
biggest largest
delete remove erase
alter change modify
rubbish garbage waste trash
petrol gas gasoline
flat apartment
lift elevator
holiday vacation
colour color
lorry truck
mobile cellphone phone smartphone
rent hire lease
help assist aid
job occupation profession
salary wage pay earnings
employee staff worker personnel
customer client
illness disease sickness
medicine drug medication
fridge refrigerator
car vehicle automobile
parcel package shipment
passcode password
permission approval consent
annual yearly
task duty responsibility role
rule regulation
contract agreement
manage run
contact reach
kid child children
guest visitor
trip travel journey
danger risk hazard
important essential crucial
necessary mandatory obligatory compulsory
die death dead died
born birth birthplace
marry wed
invent invention
discover discovery
discount reduction
difference differ distinguish
population inhabitant inhabitants
author writer
write written wrote
build construct construction built
picture photo photograph image
height tall high
weight heavy weigh
length long
age old
width wide
depth deep
speed
distance far
locate location located situated
town city
country nation state
tv television
email e-mail
wifi wi-fi wireless
usa us
ww2 wwii
"""

# Each line is a set of words of which any two are in contrast.
_CONTRASTS_EN = """
new used 
new old
open close
opening closing
before after
above below
over under
up down
on off
in out
inside outside
indoor outdoor
indoors outdoors
enter exit
arrive depart
arrival departure
begin end
first second third fourth fifth last
minimum maximum
min max
least most
less more
low high
lower higher upper
lowest highest
small big
smallest largest
short long
shortest longest
cheap expensive
cheapest dearest
hot cold
left right
front back rear
north south east west
northern southern eastern western
import export
buy sell
buyer seller
accept reject
accept refuse
allow forbid
allow prohibit
increase decrease
increase reduce
increase lower
raise lower
rise drop
grow shrink
add remove
install uninstall
enable disable
lock unlock
upload download
send receive
give receive
borrow lend return
win lose
winner loser
pass fail
include exclude
internal external
domestic international
domestic foreign
private public
positive negative
advantage disadvantage
benefit drawback
benefit risk
employer employee
landlord tenant
teacher pupil
father mother
brother sister
son daughter
man woman
men women
boy girl
male female
king queen
husband wife
adult child infant teenager
day night
morning afternoon evening
summer winter spring autumn
monday tuesday wednesday thursday friday saturday sunday weekend weekday
january february april june july august september october november december
black white red green blue yellow
gross net
single double
full-time part-time
always never
all none
before until
with without
for against
same different
hard easy soft
early late
earliest latest
young old
youngest oldest
sender recipient
input output
read write
client server
row column
ascending descending
encrypt decrypt
encode decode
start stop
hire dismiss
hire fire
legal illegal
safe dangerous
optional mandatory
strength weakness
supply demand
profit loss
income expense
deposit withdraw
war peace
birth death
born die
past future
previous next
primary secondary tertiary
minor major
junior senior
offense defense
county country
desert dessert
planet plant
beach bleach
through thorough
attack defend
"""

_SYNONYMS_ZH = """
怎么 怎样 如何 怎么样
哪里 哪儿 什么地方 何处 什么位置
什么时候 何时 什么时间 几时
为什么 为何 什么原因 为啥
多少 几个 几名 几块 几位
多久 多长时间 多长 多少天 几天
星期 周 礼拜
可以 能够 允许 能不能 可不可以 是否可以 是否允许
需要 必须 要不要 应该 应当 该 要
谁 哪位 哪个人 什么人
员工 职工 雇员 职员
公司 企业 单位
开始 起始
结束 终止 截止
办法 方法 方式 步骤 流程 手续 程序
区别 不同 差别 差异
作用 用途 功能
优点 好处
缺点 坏处 弊端
费用 开支 花费 价格 价钱
买 购买
退货 退掉
丢 遗失 丢失
忘记 想不起来 忘了
吸烟 抽烟
孩子 儿童 小孩
保存 存放 储存
清除 去掉 去除
恢复 找回
关闭 停用
取消 终止
人口 居民数量
寿命 能活
免费 不要钱
创立 成立 创办 建立
汽车 车
手机 电话
药 药物 药品
医生 大夫
酒店 宾馆 旅馆
"""
_LIGHT_ZH = "的了吗呢吧啊么是有在和与及请问您你我们它这那个些把被给向从到会就都还也再又着过对于哪什"
_CONTRASTS_ZH = """
新 旧
大 小
高 低
最大 最小
最高 最低
最多 最少
前 后
之前 之后
开 关
上 下
左 右
里 外
室内 室外
男 女
早 晚
早班 夜班
上午 下午
买 卖
买家 卖家
进口 出口
国内 国际
增加 减少
上升 下降
优点 缺点
第一 最后
包括 不包括
可以 不可以 不能
上传 下载
开始 结束
税前 税后
"""

LIGHT = frozenset(_LIGHT_EN.split())
LIGHT_ZH = frozenset(_LIGHT_ZH)


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.split("\n") if line.strip()]


SYNONYMS_EN = _lines(_SYNONYMS_EN)
CONTRASTS_EN = _lines(_CONTRASTS_EN)
SYNONYMS_ZH = _lines(_SYNONYMS_ZH)
CONTRASTS_ZH = _lines(_CONTRASTS_ZH)
