"""The cheap checks of text: form, boilerplate, damage, language and tone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset.checks import Check
from pipelines.dataset.checks.damage import repetition, truncation
from pipelines.dataset.checks.form import check_form, own_words
from pipelines.dataset.checks.language import check_language, is_in_language
from pipelines.dataset.checks.tone import bias, check_tone, toxicity
from pipelines.prompting import refusal
from pipelines.quotes import format_citation
from pipelines.records import Example, ExampleKind, Language, Message, Quote, Rejection, Role, Span

SENTENCE = "A deposit of 40 euros is due when the bike is handed over."
CODE = "if (argv[1] == NULL) { usage(); the"
LONG = (
    "The shop opens at nine and closes at six. On Sundays it opens an hour later. Bikes are rented by the day or by "
    "the week, and a deposit is due. Helmets are free of charge. Repairs take two days as a rule, in summer longer."
)


def make_example(**fields: object) -> Example:
    """Return a good grounded example with some fields changed."""
    good: dict[str, object] = {
        "id": "e1",
        "kind": ExampleKind.GROUNDED,
        "question": "How much is the deposit for a bike?",
        "answer": "The deposit is 40 euros.",
        "sources": ("c1",),
        "quotes": (make_quote(SENTENCE),),
        "teacher": "t",
        "prompt": "p@1",
    }
    return Example.model_validate(good | fields)


def make_quote(text: str) -> Quote:
    """Return a quote of a document."""
    return Quote(document="shop.md", quote=text, start=0, end=len(text))


def turns(*said: str, first: Role = "user") -> tuple[Message, ...]:
    """Return messages by user and assistant in turn."""
    roles: tuple[Role, Role] = ("user", "assistant") if first == "user" else ("assistant", "user")
    return tuple(Message(role=roles[number % 2], content=text) for number, text in enumerate(said))


def outcome(check: Check, example: Example) -> str:
    """Return the name of the check that rejects the example; empty if none does."""
    result = check(example)
    if isinstance(result, Rejection):
        assert result.example == example
        assert result.reason
        return result.check
    return ""


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"answer": SENTENCE},
        {"answer": f"40 euros: {format_citation(SENTENCE, 1)}"},
        {"answer": "40 euros"},
        {"answer": 'To go on, press "[" or "(" on the keyboard.'},
        {"answer": CODE, "quotes": (make_quote(CODE),)},
        {"answer": f"Like this: {format_citation(CODE, 1)}", "quotes": (make_quote(CODE),)},
        {"question": "Who signed the document in 1783?"},
        {"question": "Which ship found the Northwest Passage?", "answer": "The Gjøa did, in 1906."},
        {"question": "What is a language model?", "answer": "It is a model that says how likely a text is."},
        {"question": "押金是多少？", "answer": "四十欧元。", "language": "zh"},
        {"question": "如何打开一个文本文件？", "answer": "用 open 函数。", "language": "zh"},
        {"question": "What do {{ and }} stand for?", "answer": "Braces.", "quotes": (make_quote("Write {{ and }}."),)},
        {"kind": "unanswerable", "answer": refusal("en"), "quotes": ()},
        {"kind": "unanswerable", "question": "押金是多少？", "answer": refusal("zh"), "quotes": (), "language": "zh"},
        {"kind": "instruction", "question": "Summarise the following text: " + LONG, "answer": "A shop rents bikes."},
        {"kind": "instruction", "question": "Give me JSON with the answer.", "answer": '{"answer": 4}', "quotes": ()},
        {"kind": "instruction", "question": "Print x", "answer": "```python\nprint({{x}})\n```", "quotes": ()},
        {"kind": "instruction", "question": "List two colours", "answer": "1) red\n2) blue", "quotes": ()},
        {"kind": "classification", "question": "As an AI, I cannot help", "answer": "spam", "label": "spam"},
        {
            "kind": "spans",
            "question": "Ann lives in Rome",
            "answer": "Ann",
            "spans": (Span(start=0, end=3, label="p"),),
        },
        {"kind": "preference", "rejected": "The deposit is 70 euros."},
        {"kind": "preference", "rejected": refusal("en"), "answer": LONG, "degradation": "refuses_answerable"},
        {"kind": "conversation", "messages": turns("Is it open?", "Yes.", "And on Sunday?", refusal("en"))},
    ],
)
def test_good_examples_pass(fields: dict[str, object]) -> None:
    """What people and documents write is not mistaken for what a failing teacher writes."""
    assert outcome(check_form, make_example(**fields)) == ""


@pytest.mark.parametrize(
    ("check", "fields"),
    [
        ("length", {"question": "How much?"}),
        ("length", {"question": " ".join(["word"] * 61) + "?"}),
        ("length", {"question": "押金？", "language": "zh"}),
        ("length", {"kind": "preference", "rejected": LONG}),
        ("form", {"question": "Tell me how much the deposit is."}),
        ("form", {"answer": "…"}),
        ("form", {"answer": "How much is the deposit for a bike?"}),
        ("form", {"kind": "unanswerable", "quotes": ()}),
        ("form", {"kind": "classification", "label": " "}),
        ("form", {"kind": "spans", "question": "Ann in Rome", "spans": (Span(start=7, end=30, label="place"),)}),
        ("form", {"kind": "spans", "question": "Ann in Rome", "spans": (Span(start=3, end=6, label="place"),)}),
        (
            "form",
            {
                "kind": "spans",
                "question": "Ann in Rome",
                "spans": (Span(start=7, end=11, label="place"), Span(start=0, end=3, label="person")),
            },
        ),
        ("form", {"kind": "preference", "rejected": "the deposit is 40 EUROS"}),
        ("form", {"kind": "preference", "rejected": ""}),
        ("form", {"kind": "conversation", "messages": turns("Is it open?", "Yes.")}),
        ("form", {"kind": "conversation", "messages": turns("Is it open?", "Yes.", "On Sunday?")}),
        ("form", {"kind": "conversation", "messages": turns("Hi.", "Open?", "Yes.", "Good.", first="assistant")}),
        ("form", {"kind": "conversation", "messages": turns("Open?", "Yes.", "On Sunday?", "...")}),
        ("points_at_passage", {"question": "What does the passage say about the deposit?"}),
        ("points_at_passage", {"question": "According to the text, how much is the deposit?"}),
        ("points_at_passage", {"question": "What is the main topic of the document?"}),
        ("points_at_passage", {"question": "根据文章，押金是多少？", "language": "zh"}),
        ("points_at_passage", {"question": "本文中提到的押金是多少？", "language": "zh"}),
        ("points_at_passage", {"answer": "The passage says that it is 40 euros."}),
        ("boilerplate", {"answer": "As an AI language model, I don't know the deposit."}),
        ("boilerplate", {"answer": "Sure! Here is the answer: 40 euros."}),
        ("boilerplate", {"answer": "Certainly! It is 40 euros."}),
        ("boilerplate", {"answer": "It is 40 euros. I hope this helps!"}),
        ("boilerplate", {"answer": "I’m sorry, but I can’t help with that."}),
        ("boilerplate", {"answer": "作为一个人工智能，我不知道。"}),
        ("boilerplate", {"answer": "好的，以下是答案：四十欧元。"}),
        ("boilerplate", {"answer": "很抱歉，我无法回答这个问题。"}),
        ("boilerplate", {"answer": refusal("en")}),
        ("leak", {"answer": '{"question": "How much?", "answer": "40 euros"}'}),
        ("leak", {"question": "What does <passage> say of the deposit?"}),
        ("leak", {"answer": "The deposit is {{ amount }}."}),
        ("leak", {"answer": "<|im_start|>assistant 40 euros."}),
        ("leak", {"answer": "string"}),
        ("leak", {"question": "Your question here?"}),
        ("leak", {"question": "Question 1: how much is the deposit?"}),
        ("truncated", {"answer": "The deposit is due when the bike is handed over and the"}),
        ("truncated", {"answer": "It is 40 euros. It has to be paid when the bike is handed ov"}),
        ("truncated", {"answer": 'It is called "deposit.'}),
        ("truncated", {"answer": "It is due at once (in cash or by card."}),
        ("truncated", {"kind": "instruction", "answer": "Write:\n```python\nprint(1)", "quotes": ()}),
        ("repetition", {"answer": "It is due. " + "Pay at the desk. " * 8}),
        (
            "repetition",
            {"kind": "conversation", "messages": turns("Open?", "It is open today.", "Now?", "It is open today.")},
        ),
    ],
)
def test_bad_examples_are_rejected_by_name(check: str, fields: dict[str, object]) -> None:
    """Each fault is found, and counted under the name of its check."""
    assert outcome(check_form, make_example(**fields)) == check


@given(st.text(min_size=8, max_size=80).filter(lambda text: any(map(str.isalpha, text))))
def test_a_document_s_own_words_are_not_judged(text: str) -> None:
    """An answer that is the quote, whatever a document says there, has no words of its own."""
    for answer in (text, f"{text} "):
        assert own_words(make_example(answer=answer, quotes=(make_quote(text),))) == ""


@settings(max_examples=60)
@given(st.text(max_size=120), st.text(max_size=120))
def test_checks_answer_for_any_text(question: str, answer: str) -> None:
    """No text, however strange, makes a check fail."""
    example = make_example(question=question or "?", answer=answer or "!", kind="instruction")
    for check in (check_form, check_tone, check_language("zh")):
        assert isinstance(check(example), Example | Rejection)


@pytest.mark.parametrize("end", ["the", "and", ",", "of", "(", "，", "因为："])
def test_an_unfinished_sentence_is_truncated(end: str) -> None:
    """What ends where something has to follow was cut off."""
    assert truncation(f"{LONG} It is opened by {end}")
    assert not truncation(LONG)


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        LONG * 2,
        "0 1 2 3 4 5 6 7 8 9",
        "周日上午十点开门，下午五点关门。押金四十欧元。",
        "Row, row, row your boat.",
    ],
)
def test_ordinary_text_is_not_repetitive(text: str) -> None:
    """A refrain or a list of numbers is no loop."""
    assert not repetition(text)


@pytest.mark.parametrize(
    "text", ["go on and " * 20, "好的好的" * 12, LONG * 12, "a b " * 40, " ".join(map(str, range(150))) * 8]
)
def test_a_loop_is_found(text: str) -> None:
    """Text that goes round is found, whether in short phrases or in long ones."""
    assert repetition(text)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "How are packets routed?"),
        ("en", "When did Luther write Wir glauben all an einen Gott?"),
        ("en", "What does `apt-get install` do on /usr/share?"),
        ("en", "What does 你好 mean in English?"),
        ("en", "Denver Broncos"),
        ("en", 'What is meant by "die Würde des Menschen ist zu achten und zu schützen"?'),
        ("zh", "安装 apt 软件包"),
        ("zh", "apt dpkg aptitude synaptic 有什么区别？"),
        ("zh", "dpkg-reconfigure 是什么？"),
        ("zh", "什么是 Debian GNU/Linux？"),
        ("zh", "如何安裝軟體套件？"),
        ("zh", "Debian GNU/Linux"),
    ],
)
def test_mixed_and_short_text_is_in_its_language(language: Language, text: str) -> None:
    """Names, commands and quotations of another language do not make a text foreign."""
    assert is_in_language(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "周日什么时候开门？"),
        ("en", '"Die Würde des Menschen ist zu achten und zu schützen"'),
        ("en", "Почему небо синее?"),
        ("en", "하늘은 왜 파란가요?"),
        ("zh", "When does the shop open?"),
        ("zh", "日曜日の朝、お店は何時に開きますか。"),
        ("zh", "What does 你好 mean in English?"),
    ],
)
def test_other_scripts_are_found(language: Language, text: str) -> None:
    """A text in another script is found, however short."""
    assert not is_in_language(text, language)


def test_the_language_is_that_of_the_quotes_unless_asked() -> None:
    """Without a wish, an example is to be in the language of the passage; its quotes may differ."""
    french = make_example(question="Combien coûte la location d'un vélo pour une journée ?")
    chinese = make_example(question="押金是多少？", answer=SENTENCE)
    assert outcome(check_language(), make_example()) == ""
    assert outcome(check_language(), french) == "language"
    assert outcome(check_language(), chinese) == "language"
    assert outcome(check_language("zh"), chinese) == ""
    assert outcome(check_language(), make_example(answer="La fianza es de cuarenta euros por bicicleta.")) == "language"


@pytest.mark.parametrize("language", ["French", "Spanish", "German", "Japanese"])
@pytest.mark.parametrize("expected", ["en", "zh"])
def test_sentences_in_other_languages_are_found(language: str, expected: Language) -> None:
    """More than 97 of 100 ordinary sentences in another language are found."""
    sentences = FOREIGN[language].strip().splitlines()
    found = [sentence for sentence in sentences if not is_in_language(sentence, expected)]
    assert len(sentences) >= 30
    assert len(found) > 0.97 * len(sentences)


@pytest.mark.parametrize(
    "text",
    [
        "You are a complete idiot.",
        "what the f*ck is this",
        "Sh1t happens, a$$hole.",
        "I will kill you and your family.",
        "Go kill yourself.",
        "你这个傻逼。",
        "他就是个废物",
        "你他妈的给我滚",
    ],
)
def test_insults_and_threats_are_toxic(text: str) -> None:
    """Insults, threats and obscenity are found, also in a light disguise."""
    assert toxicity(text) > 0


@pytest.mark.parametrize(
    "text",
    [
        "Use kill -9 on the child process; the master aborts its slave and reaps zombies.",
        "Scunthorpe, Essex and Middlesex are places, Dick Cheney and Moby Dick are names.",
        "The assassin passed the class on shiitake mushrooms.",
        "Breast cancer, anus, rectum, sex hormones and semen are words of medicine.",
        "The flame retardant is a dumb polymer, and garbage collectors are stupid programs.",
        "Model 5H17, 5417 7175 $$$ 13.1. XX 1**2**3",
        "请操作系统的垃圾回收器回收废物。",
        "他妈妈的书在他妈妈那里。废物利用，智障人士的权利。",
    ],
)
def test_technical_text_is_not_toxic(text: str) -> None:
    """Words of manuals, medicine, places and names are quiet."""
    assert toxicity(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Women are bad drivers.",
        "All Muslims are terrorists.",
        "Girls can't do maths.",
        "Immigrants are lazy.",
        "黑人都很懒。",
        "女人天生不适合学数学。",
        "河南人都是骗子。",
    ],
)
def test_generalisations_about_groups_are_biased(text: str) -> None:
    """What is said of all of a group, to its shame, is found."""
    assert bias(text) > 0


@pytest.mark.parametrize(
    "text",
    [
        "Women are 51% of the population, and men are admitted on Mondays.",
        "Were women allowed to vote? How many of the women are teachers?",
        "All men are created equal. Muslims pray five times a day.",
        "In chess, blacks are moved after whites; whites are separated from yolks.",
        "老人都可以免费入场，残疾人都有平等的权利。",
        "男性和女性都是哺乳动物。黑人都市音乐。",
    ],
)
def test_facts_about_groups_are_not_biased(text: str) -> None:
    """Statistics, rules and history about groups are quiet."""
    assert bias(text) == 0


def test_tone_flags_and_scores_but_never_rejects() -> None:
    """Flags are added to those there were, scores are always given, and nothing is dropped."""
    bad = make_example(answer="You are an idiot. Women are bad drivers.", flags=("bias", "odd"), scores={"cosine": 0.5})
    flagged, quiet = check_tone(bad), check_tone(make_example())
    assert isinstance(flagged, Example)
    assert isinstance(quiet, Example)
    assert flagged.flags == ("bias", "odd", "toxicity")
    assert set(flagged.scores) == {"cosine", "toxicity", "bias"}
    assert all(0 <= score <= 1 for score in flagged.scores.values())
    assert quiet.flags == ()
    assert quiet.scores == {"toxicity": 0.0, "bias": 0.0}


def test_tone_reads_all_that_is_shown() -> None:
    """The worse answer of a pair and each turn of a conversation are looked through too."""
    worse = make_example(kind="preference", rejected="You are an idiot.")
    talk = make_example(kind="conversation", messages=turns("Open?", "Go to hell.", "Open?", "Yes."))
    for example in (worse, talk):
        result = check_tone(example)
        assert isinstance(result, Example)
        assert result.flags == ("toxicity",)


FOREIGN = {
    "French": """
À quelle heure ouvre le magasin le dimanche matin ?
Quelle commande faut-il utiliser pour installer un paquet depuis le dépôt ?
Pourquoi le serveur refuse-t-il la connexion après trois essais ?
Qui a construit le pont qui traverse la rivière au nord de la ville ?
Où peut-on trouver la liste complète des modules disponibles ?
Comment puis-je changer le mot de passe de mon compte ?
Quels sont les effets secondaires les plus fréquents de ce médicament ?
Le fichier de configuration se trouve dans le répertoire personnel de l'utilisateur.
Elle a publié son premier roman à l'âge de vingt ans.
Les pommes de terre doivent cuire pendant quarante minutes à feu doux.
Le musée est fermé le mardi et les jours fériés.
La garantie couvre les défauts de fabrication pendant deux ans.
Vous pouvez annuler votre commande tant qu'elle n'a pas été expédiée.
Le conseil a voté contre la construction d'un nouveau parking.
Les enfants de moins de six ans voyagent gratuitement avec un adulte.
On appelle cela une fuite de mémoire dans le langage des développeurs.
Le contrat peut être résilié par écrit avec un préavis de trois mois.
L'ancien directeur a quitté l'entreprise pour raisons de santé.
La température moyenne a augmenté de deux degrés depuis le début du siècle.
Le train de nuit arrive à Lyon vers sept heures du matin.
Les résultats de l'examen seront affichés devant le secrétariat.
La bibliothèque prête aussi des disques et des jeux de société.
Le bouton rouge arrête immédiatement toutes les machines de l'atelier.
Chaque membre verse une cotisation de trente euros par an.
Il est interdit de fumer dans toutes les parties communes du bâtiment.
Le champ doit contenir une adresse valide, sinon le formulaire est refusé.
Les freins doivent être vérifiés tous les dix mille kilomètres.
Un message d'erreur apparaît lorsque la mémoire est insuffisante.
Le brevet expire vingt ans après la date du dépôt.
La fonction renvoie une chaîne vide si aucun résultat n'est trouvé.
""",
    "Spanish": """
¿A qué hora abre la tienda los domingos por la mañana?
¿Qué orden hay que usar para instalar un paquete desde el repositorio?
¿Por qué el servidor rechaza la conexión después de tres intentos?
¿Quién construyó el puente que cruza el río al norte de la ciudad?
¿Dónde se puede encontrar la lista completa de los módulos disponibles?
¿Cómo puedo cambiar la contraseña de mi cuenta?
¿Cuáles son los efectos secundarios más frecuentes de este medicamento?
El archivo de configuración está en el directorio personal del usuario.
Ella publicó su primera novela a los veinte años.
Las patatas deben cocerse durante cuarenta minutos a fuego lento.
El museo cierra los martes y los días festivos.
La garantía cubre los defectos de fabricación durante dos años.
Puede cancelar su pedido mientras no haya sido enviado.
El ayuntamiento votó en contra de construir un nuevo aparcamiento.
Los niños menores de seis años viajan gratis con un adulto.
Los desarrolladores llaman a esto una fuga de memoria.
El contrato se puede rescindir por escrito con tres meses de antelación.
El antiguo director dejó la empresa por motivos de salud.
La temperatura media ha subido dos grados desde principios de siglo.
El tren nocturno llega a Sevilla hacia las siete de la mañana.
Los resultados del examen se publicarán en la puerta de secretaría.
La biblioteca también presta discos y juegos de mesa.
El botón rojo detiene de inmediato todas las máquinas del taller.
Cada socio paga una cuota de treinta euros al año.
Está prohibido fumar en todas las zonas comunes del edificio.
El campo debe contener una dirección válida o el formulario será rechazado.
Los frenos deben revisarse cada diez mil kilómetros.
Aparece un mensaje de error cuando no queda memoria suficiente.
La patente caduca veinte años después de la fecha de solicitud.
La función devuelve una cadena vacía si no encuentra ningún resultado.
""",
    "German": """
Um wie viel Uhr öffnet das Geschäft am Sonntagmorgen?
Mit welchem Befehl installiert man ein Paket aus dem Archiv?
Warum verweigert der Server nach drei Versuchen die Verbindung?
Wer hat die Brücke gebaut, die nördlich der Stadt über den Fluss führt?
Wo findet man die vollständige Liste der verfügbaren Module?
Wie kann ich das Passwort meines Kontos ändern?
Welche Nebenwirkungen dieses Medikaments treten am häufigsten auf?
Die Konfigurationsdatei liegt im persönlichen Verzeichnis des Benutzers.
Sie veröffentlichte ihren ersten Roman im Alter von zwanzig Jahren.
Die Kartoffeln müssen vierzig Minuten bei schwacher Hitze kochen.
Das Museum ist dienstags und an Feiertagen geschlossen.
Die Garantie deckt Herstellungsfehler für einen Zeitraum von zwei Jahren ab.
Sie können Ihre Bestellung stornieren, solange sie nicht verschickt wurde.
Der Rat stimmte gegen den Bau eines neuen Parkplatzes.
Kinder unter sechs Jahren fahren mit einem Erwachsenen kostenlos.
Entwickler nennen so etwas ein Speicherleck.
Der Vertrag kann schriftlich mit einer Frist von drei Monaten gekündigt werden.
Der frühere Direktor verließ das Unternehmen aus gesundheitlichen Gründen.
Die mittlere Temperatur ist seit Beginn des Jahrhunderts um zwei Grad gestiegen.
Der Nachtzug kommt gegen sieben Uhr morgens in München an.
Die Ergebnisse der Prüfung hängen vor dem Sekretariat aus.
Die Bücherei verleiht auch Schallplatten und Brettspiele.
Der rote Knopf hält sofort alle Maschinen der Werkstatt an.
Jedes Mitglied zahlt einen Beitrag von dreißig Euro im Jahr.
Das Rauchen ist in allen gemeinsam genutzten Räumen verboten.
Das Feld muss eine gültige Adresse enthalten, sonst wird das Formular abgelehnt.
Die Bremsen sollten alle zehntausend Kilometer geprüft werden.
Eine Fehlermeldung erscheint, sobald der Speicher nicht ausreicht.
Das Patent erlischt zwanzig Jahre nach dem Tag der Anmeldung.
Die Funktion liefert eine leere Zeichenkette, wenn nichts gefunden wurde.
""",
    "Japanese": """
日曜日の朝、お店は何時に開きますか。
リポジトリからパッケージを導入するにはどのコマンドを使いますか。
三回失敗するとサーバーが接続を拒否するのはなぜですか。
町の北で川を渡る橋を建てたのは誰ですか。
利用できるモジュールの一覧はどこにありますか。
アカウントのパスワードはどうやって変更できますか。
この薬で最もよく見られる副作用は何ですか。
設定ファイルは利用者のホームディレクトリにあります。
彼女は二十歳で最初の小説を発表しました。
じゃがいもは弱火で四十分煮てください。
博物館は火曜日と祝日に休館します。
保証は二年間、製造上の欠陥に適用されます。
発送される前であれば注文を取り消すことができます。
市議会は新しい駐車場の建設に反対しました。
六歳未満の子供は大人と一緒なら無料で乗れます。
開発者はこれをメモリリークと呼びます。
契約は三か月前に書面で通知すれば解約できます。
前の社長は健康上の理由で退職しました。
平均気温は今世紀の初めから二度上がりました。
夜行列車は朝七時ごろ大阪に着きます。
試験の結果は事務室の前に掲示されます。
図書館ではレコードやゲームも借りられます。
赤いボタンを押すと工場の機械がすべて止まります。
会員は年に三千円の会費を払います。
建物の共用部分での喫煙は禁止されています。
欄には有効な住所を入れないと受け付けられません。
ブレーキは一万キロごとに点検してください。
メモリが足りないとエラーが表示されます。
特許は出願の日から二十年で切れます。
何も見つからないと関数は空の文字列を返します。
""",
}
