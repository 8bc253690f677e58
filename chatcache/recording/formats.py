r"""Find credentials by their format: an unmistakable prefix, or a frame such as that of a PEM file.

The formats come from the documents of the providers and from the rules of CredSweeper 1.19 and detect-secrets 1.5.
Neither is a dependency: CredSweeper brings pandas and ONNX, detect-secrets has no rule for most providers of models,
and both read line by line. The rules here are looser about lengths, because an unneeded mask can be put back. They are
stricter about examples, because an answer must not change.

A prefix counts only at the beginning of a word, or after an escape such as ``\n`` in JSON within JSON. Each rule reads
a bounded number of characters before it can fail, so the search takes linear time. Pure.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from .examples import is_example, is_machine_made, is_random_word, is_real
from .together import BETWEEN

__all__ = ["Span", "formats_in"]


class Span(NamedTuple):
    """The begin and the end of a secret in a text, and its kind."""

    begin: int
    end: int
    sort: str


_TOKEN = r"[\w-]{16,}"  # noqa: S105 - a pattern
_WORD = r"[A-Za-z0-9]{16,}"
_DOTTED = r"[\w.-]{16,}"
_LOWER_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

# The kind, the prefixes, and the pattern of the rest. A longer prefix comes before a shorter one that it begins with.
_PREFIXES = (
    ("Anthropic key", "sk-ant-", _TOKEN),
    ("OpenRouter key", "sk-or-", _TOKEN),
    ("Langfuse key", "sk-lf-", _TOKEN),
    ("OpenAI key", "sk-proj- sk-svcacct- sk-service- sk-admin- sk-None-", _TOKEN),
    ("API key", "sk-", r"(?:[A-Za-z0-9]{1,20}[_-]){0,4}[A-Za-z0-9]{16,}[\w-]*"),
    ("OpenAI session key", "sess-", _WORD),
    ("Google key", "AIza", r"[\w-]{35}"),
    ("Google key", "AQ.Ab", r"[\w-]{30,}"),
    ("Google token", "ya29. 1//0", r"[\w-]{20,}"),
    ("Google client secret", "GOCSPX-", _TOKEN),
    ("AWS key id", "AKIA ASIA ABIA ACCA", r"[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("AWS session token", "IQoJb3JpZ2lu FwoGZXIvYXdz FQoGZXIvYXdz", r"[A-Za-z0-9+/]{40,}={0,2}"),
    ("AWS Bedrock key", "ABSK bedrock-api-key-", r"[A-Za-z0-9+/]{40,}={0,2}"),
    ("AWS AppSync key", "da2-", r"[a-z0-9]{26}(?![0-9A-Za-z])"),
    ("AWS MWS key", "amzn.mws.", _LOWER_UUID),
    ("Amazon client secret", "amzn1.oa2-cs.v1.", r"[0-9a-f]{64}"),
    ("Alibaba key id", "LTAI", r"[0-9A-Za-z]{12,26}(?![0-9A-Za-z])"),
    ("Tencent key id", "AKID", r"[0-9A-Za-z]{32}(?![0-9A-Za-z])"),
    ("Yandex key", "AQVN", r"[\w-]{35,38}(?![\w-])"),
    ("Yandex token", "t1.", r"[A-Z0-9a-z_-]{40,}={0,2}\.[A-Z0-9a-z_-]{80,}"),
    ("Volcengine key id", "AKLT AKTP", r"[0-9A-Za-z]{40,}"),
    ("Groq key", "gsk_", r"[A-Za-z0-9]{32,}"),
    ("Hugging Face token", "hf_ api_org_", r"[A-Za-z0-9]{30,}"),
    ("xAI key", "xai-", r"[A-Za-z0-9]{40,}"),
    ("Perplexity key", "pplx-", r"[A-Za-z0-9]{32,}"),
    ("NVIDIA key", "nvapi-", r"[\w-]{40,}"),
    ("Replicate token", "r8_", r"[A-Za-z0-9]{30,}"),
    ("Fireworks key", "fw_ fpk_", r"[A-Za-z0-9]{20,}"),
    ("Cerebras key", "csk-", r"[A-Za-z0-9]{32,}"),
    ("Together key", "tgp_v1_", _TOKEN),
    ("Voyage key", "pa- al-", r"[\w-]{43}(?![\w-])"),
    ("Jina key", "jina_", r"[A-Za-z0-9_-]{40,}"),
    ("Cohere key", "co_", r"[A-Za-z0-9]{36,}"),
    ("Nomic key", "nk-", r"[\w-]{43}(?![\w-])"),
    ("Upstage key", "up_", r"[A-Za-z0-9]{28,}"),
    ("Friendli token", "flp_", r"[A-Za-z0-9]{40,}"),
    ("Chutes key", "cpk_", r"[0-9a-f.]{32,}[\w.]*"),
    ("Llama key", "LLM|", r"\d{10,}\|[\w-]{20,}"),
    ("LlamaCloud key", "llx-", r"[\w-]{40,}"),
    ("Hyperbolic key", "hb_", r"[A-Za-z0-9]{32,}"),
    ("Cartesia key", "sk_car_", _TOKEN),
    ("ElevenLabs key", "sk_", r"[0-9a-f]{40,}"),
    ("RunPod key", "rpa_", r"[A-Za-z0-9]{40,}"),
    ("Modal token", "ak- as-", r"[A-Za-z0-9]{22}(?![\w-])"),
    ("Anyscale key", "esecret_ aph0_", r"[A-Za-z0-9]{20,}"),
    ("Baseten key", "bst_", r"[A-Za-z0-9]{30,}"),
    ("Tavily key", "tvly-", _TOKEN),
    ("Firecrawl key", "fc-", r"[0-9a-f]{32}(?![\w-])"),
    ("Brave key", "BSA", r"[\w-]{27,28}(?![\w-])"),
    ("E2B key", "e2b_", r"[0-9a-f]{40}"),
    ("Browserbase key", "bb_live_ bb_test_", _TOKEN),
    ("Apify token", "apify_api_", _WORD),
    ("Mem0 key", "m0-", r"[A-Za-z0-9]{40}(?![\w-])"),
    ("Composio key", "ak_ ck_ uak_ oak_ sk_comp_", r"[\w-]{20}(?![\w-])"),
    ("Pinecone key", "pcsk_", _TOKEN),
    ("Unkey key", "unkey_", _TOKEN),
    ("LangSmith key", "lsv2_", r"[a-z]{2}_[0-9a-f_]{30,}"),
    ("LangChain key", "ls__", r"[0-9a-f]{32}"),
    ("Helicone key", "pk-helicone- sk-helicone-", _TOKEN),
    ("Weights & Biases key", "wandb_v1_ local-", r"[A-Za-z0-9_]{40,}"),
    ("Logfire token", "pylf_v1_", _TOKEN),
    ("Cursor key", "crsr_ key_", r"[0-9a-f]{64}(?![\w-])"),
    ("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"\w{30,}(?:\.[\w-]{8,}){0,2}"),
    ("GitHub token", "github_pat_", r"\w{40,}"),
    (
        "GitLab token",
        "glpat- glptt- gldt- glrt- glrtr- glcbt- glft- glimt- glagent- gloas- glsoat- glffct- glwt-",
        r"[\w-]{20,}(?:\.[\w-]{2,16}){0,2}",
    ),
    ("GitLab token", "GR1348941", _TOKEN),
    ("GitLab session", "_gitlab_session=", r"[0-9a-zA-Z]{20,}"),
    ("Bitbucket token", "ATBB ATCTT3x", r"[\w-]{32,}=?[0-9A-F]*"),
    ("Bitbucket token", "BBDC-", r"[\w-]{44,}"),
    ("Atlassian token", "ATATT3x ATSTT3x", r"[\w-]{60,}=?[0-9A-F]*"),
    ("Slack token", "xapp- xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs-", r"[\w%.-]{12,}"),
    ("Stripe key", "sk_live_ sk_test_ rk_live_ rk_test_ sk_prod_ rk_prod_", r"[A-Za-z0-9]{16,}"),
    ("webhook secret", "whsec_ v1,whsec_", r"[A-Za-z0-9+/]{24,}={0,2}"),
    ("SendGrid key", "SG.", r"[\w-]{16,}\.[\w-]{16,}"),
    ("Twilio key", "SK", r"[0-9a-f]{32}(?![0-9A-Za-z])"),
    ("Mailgun key", "key-", r"[0-9a-z]{32}(?![0-9A-Za-z])"),
    ("Brevo key", "xkeysib- xsmtpsib-", r"[\w-]{32,}"),
    ("Resend key", "re_", r"[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}"),
    ("MailerSend token", "mlsn.", r"[0-9a-f]{64}"),
    ("Postmark or Klaviyo key", "pk_", r"[0-9a-f]{34}(?![0-9A-Za-z])"),
    ("npm token", "npm_", r"[A-Za-z0-9]{30,}"),
    ("PyPI token", "pypi-AgE", r"[\w-]{40,}"),
    ("RubyGems key", "rubygems_", r"[0-9a-f]{40,}"),
    ("crates.io token", "cio", r"[A-Za-z0-9]{32}(?![0-9A-Za-z])"),
    ("Clojars token", "CLOJARS_", r"[0-9a-z]{60}"),
    ("NuGet key", "oy2", r"[a-z0-9]{43}(?![0-9A-Za-z])"),
    ("Packagist token", "packagist_", r"[a-z]{2,4}_[0-9a-f]{40,}"),
    ("Docker token", "dckr_pat_ dckr_oat_", r"[\w-]{20,}"),
    ("Docker Swarm token", "SWMTKN-1- SWMKEY-1-", r"[A-Za-z0-9/+-]{40,}"),
    ("JFrog token", "AKCp cmVmdGtuO", r"[A-Za-z0-9]{50,}"),
    ("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_ dos_v1_", r"[0-9a-f]{40,}"),
    ("Databricks token", "dapi dkea dose", r"[0-9a-f]{32}(?:-\d)?(?![0-9A-Za-z])"),
    ("Vault token", "hvs. hvb. hvr.", r"[\w-]{24,}"),
    ("Doppler token", "dp.", r"(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}"),
    ("1Password token", "ops_eyJ", r"[\w-]{100,}={0,2}"),
    (
        "1Password key",
        "A3-",
        r"[A-Z0-9]{6}-(?:[A-Z0-9]{6}-[A-Z0-9]{5}|[A-Z0-9]{11})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
    ),
    ("Pulumi token", "pul-", r"[0-9a-f]{40}"),
    ("Infracost key", "ico-", r"[A-Za-z0-9]{32}"),
    ("Heroku key", "HRKU-", r"[\w-]{36,}"),
    ("Fly token", "fo1_ fm1r_ fm1a_ fm2_ FlyV1", r"[A-Za-z0-9+/ _-]{40,}={0,3}"),
    ("Render key", "rnd_", r"[A-Za-z0-9]{28,}"),
    ("Vercel token", "vcp_ vci_ vca_ vcr_ vck_", r"[A-Za-z0-9]{24,}"),
    ("Netlify token", "nfp_ nfc_ nfo_ nfu_ nfb_", r"[A-Za-z0-9]{30,}"),
    ("Supabase key", "sbp_ sb_secret_", r"[A-Za-z0-9_-]{20,}"),
    ("Neon key", "napi_", r"[a-z0-9]{40,}"),
    ("PlanetScale credential", "pscale_tkn_ pscale_oauth_ pscale_pw_", r"[\w.-]{30,}"),
    ("Cloudflare token", "cfat_ cfut_ cfk_", r"[A-Za-z0-9]{40,}"),
    ("Cloudflare origin key", "v1.0-", r"[0-9a-f]{24}-[0-9a-f]{100,}"),
    ("Scaleway key", "SCW", r"[A-Z0-9]{17}(?![0-9A-Za-z])"),
    ("Terraform token", "ATCT", r"[\w-]{60,}"),
    ("Tailscale key", "tskey-", r"[a-z]{3,8}-[A-Za-z0-9]{12,24}-[A-Za-z0-9]{24,}|[A-Za-z0-9-]{16,}"),
    ("Grafana token", "glsa_", r"[A-Za-z0-9]{24,}_[0-9a-fA-F]{8}"),
    ("Grafana token", "glc_eyJ", r"[\w+/-]{40,}={0,2}"),
    ("Sentry token", "sntrys_eyJ", r"[\w+/=-]{60,}"),
    ("Sentry token", "sntryu_ sntrya_", r"[0-9a-f]{40,}"),
    ("New Relic key", "NRAK- NRII- NRBR- NRJS- NRAA- NRRA-", r"[\w-]{19,}"),
    ("Dynatrace token", "dt0c01. dt0s01. dt0s08. dt0s16.", r"[A-Z0-9]{24}\.[A-Z0-9]{40,}"),
    ("Honeycomb key", "hcaik_ hcbik_ hcalk_ hcamk_ hcxik_ hcxmk_", r"[A-Za-z0-9]{32,}"),
    ("PostHog key", "phx_ phs_ phr_ pha_", r"[A-Za-z0-9]{40,}"),
    ("Datadog key", "pub_dd_ ddapi_", _WORD),
    ("Linear key", "lin_api_ lin_oauth_", r"[A-Za-z0-9]{32,}"),
    ("Notion token", "ntn_ secret_", r"[A-Za-z0-9]{40,}"),
    ("Airtable token", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    ("HubSpot token", "pat-na1- pat-eu1- pat-na2- pat-ap1-", _LOWER_UUID),
    ("Harness token", "pat. sat.", r"[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}"),
    ("Figma token", "figd_ figo_ figu_ figor_ figoh_", r"[\w-]{36,}"),
    ("Typeform token", "tfp_", r"[\w-]{40,}"),
    ("Contentful token", "CFPAT-", r"[\w-]{40,}"),
    ("Postman key", "PMAK- PMAT-", r"[\w-]{26,}"),
    ("ReadMe key", "rdme_", r"[a-z0-9]{60,}"),
    ("Dropbox token", "sl.", r"(?:u\.)?[\w-]{70,}"),
    ("Square token", "EAAA", r"[\w-]{60}(?![\w-])"),
    ("Facebook token", "EAA", r"[A-Za-z0-9]{80,}"),
    ("Square credential", "sq0atp- sq0csp- sq0idp-", r"[\w-]{22,}"),
    ("Instagram token", "IGQV", r"[\w-]{80,}"),
    ("Shopify token", "shpat_ shpca_ shppa_ shpss_ shpua_ shptka_ shpit_ atkn_", r"[0-9a-fA-F]{32,}"),
    ("Braintree token", "access_token$production$ access_token$sandbox$", r"[0-9a-z]{16}\$[0-9a-f]{32}"),
    ("Plaid token", "access-production- access-sandbox- access-development-", _LOWER_UUID),
    ("Razorpay key", "rzp_live_ rzp_test_", r"[A-Za-z0-9]{14,}"),
    ("Flutterwave key", "FLWSECK- FLWSECK_TEST- FLWSECK_", r"[\w-]{16,}"),
    ("Mollie or GoCardless key", "live_ test_", r"[A-Za-z0-9]{30,}[\w-]*"),
    ("Lob or Shippo key", "shippo_live_ shippo_test_ live_pub_ test_pub_", _WORD),
    ("Duffel token", "duffel_live_ duffel_test_", r"[\w-]{40,}"),
    ("EasyPost key", "EZAK EZTK", r"[A-Za-z0-9]{54}"),
    ("Adyen key", "AQE", r"[A-Za-z0-9]hm[A-Za-z0-9+/=]{60,}[\w+/=^.<>$-]*"),
    ("PayPal or Braintree key", "production_ sandbox_", r"[a-z0-9]{8}_[a-z0-9]{16}(?![0-9a-z])"),
    ("WakaTime key", "waka_", _LOWER_UUID),
    ("Riot key", "RGAPI-", _LOWER_UUID),
    ("Sourcegraph token", "sgp_", r"(?:[0-9a-z]{5,16}_)?[0-9a-f]{40}"),
    ("SonarQube token", "sqa_ sqp_ squ_", r"[0-9a-f]{40}"),
    ("Buildkite token", "bkua_ bkct_ bkat_ bkaj_ bkpt_", r"[A-Za-z0-9]{36,}"),
    ("CircleCI token", "CCIPAT_ CCIPRJ_", r"[A-Za-z0-9]{20,24}_[0-9a-f]{40}"),
    ("OpenShift token", "sha256~", r"[\w-]{43}"),
    ("Prefect key", "pnu_ pnb_", r"[A-Za-z0-9]{36}"),
    ("Octopus key", "API-", r"[A-Z0-9]{25,}(?![0-9A-Za-z])"),
    ("Frame.io token", "fio-u-", r"[\w-]{60,}"),
    ("Mapbox token", "sk.eyJ", r"[\w-]{30,}\.[\w-]{16,}"),
    ("Kaggle token", "KGAT_", r"[0-9a-f]{32}"),
    ("Nylas key", "nyk_v0_", r"[A-Za-z0-9]{40,}"),
    ("Axiom token", "xaat- xapt-", _LOWER_UUID),
    ("LaunchDarkly key", "sdk- mob-", _LOWER_UUID),
    ("Trigger.dev key", "tr_dev_ tr_prod_ tr_stg_ tr_pat_", r"[A-Za-z0-9]{20,}"),
    ("Inngest key", "signkey-prod- signkey-test- signkey-branch-", r"[0-9a-f]{32,}"),
    ("Xata key", "xau_", r"[A-Za-z0-9]{30,}"),
    ("Tinybird token", "p.eyJ", r"[\w-]{40,}\.[\w-]{20,}"),
    ("Infisical token", "st.", r"[0-9a-f]{24}\.[0-9a-f]{32}\.[0-9a-f]{32}"),
    ("Snyk token", "snyk_uat. snyk_sat.", _DOTTED),
    ("Socket token", "sktsec_", _TOKEN),
    ("Cal.com key", "cal_live_ cal_test_", r"[0-9a-f]{32}"),
    ("Telnyx key", "KEY0", r"[0-9A-F]{31}_[A-Za-z0-9]{22}"),
    ("Statsig key", "secret- console-", r"[A-Za-z0-9]{40,}"),
    ("Scrapfly key", "scp-live- scp-test-", r"[0-9a-f]{32}"),
    ("Polar token", "polar_oat_ polar_pat_", r"[A-Za-z0-9_]{30,}"),
    ("Adafruit key", "aio_", r"[A-Za-z0-9]{28}(?![0-9A-Za-z])"),
    ("Defined Networking key", "dnkey-", r"[a-z0-9=_-]{26}-[a-z0-9=_-]{52}"),
    ("42 secret", "s-s4t2ud- s-s4t2af-", r"[0-9a-f]{64}"),
    ("SettleMint token", "sm_aat_ sm_pat_ sm_sat_", _WORD),
    ("Scalingo token", "tk-us-", r"[\w-]{48}"),
    ("Depot token", "depot_project_ depot_org_ depot_user_", r"[0-9a-f]{40,}"),
    ("Steel key", "ste-", r"[A-Za-z0-9]{50,}"),
    ("Age key", "AGE-SECRET-KEY-1 AGE-PLUGIN-", r"[0-9A-Z-]{40,}"),
    ("Salesforce token", "00D", r"[A-Za-z0-9]{12,15}![A-Za-z0-9._]{40,}"),
    ("extended private key", "xprv zprv yprv tprv", r"[1-9A-HJ-NP-Za-km-z]{90,}"),
    ("Nostr key", "nsec1", r"[ac-hj-np-z02-9]{58}"),
    (
        "PASETO token",
        "v1.local. v2.local. v3.local. v4.local. v1.public. v2.public. v3.public. v4.public.",
        r"[\w.-]{40,}",
    ),
    ("X bearer token", "AAAAAAAAAAAAAAAAAAAA", r"[A-Za-z0-9%]{40,}"),
    ("Firebase key", "AAAA", r"[\w-]{7}:[\w-]{100,}"),
    ("hash of a password", "$2a$ $2b$ $2x$ $2y$", r"\d\d\$[./A-Za-z0-9]{53}"),
    ("hash of a password", "$apr1$ $1$ $5$ $6$ $y$ $7$", r"(?:rounds=\d+\$)?[./A-Za-z0-9$]{2,40}\$[./A-Za-z0-9]{22,}"),
    ("hash of a password", "$argon2i$ $argon2d$ $argon2id$ $scrypt$ $pbkdf2", r"[\w$,=+/.-]{40,}"),
    ("hash of a password", "{SSHA}", r"[A-Za-z0-9+/]{28,}={0,2}"),
    ("private key in Base64", "LS0tLS1CRUdJTi", r"[A-Za-z0-9+/]{60,}={0,2}"),
    ("Discord token", "M N O", r"[\w-]{22,27}\.[\w-]{6}\.[\w-]{27,}"),
    (
        "JSON Web Token",
        "eyJ",
        r"[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}|[\w-]{16,}\.[\w-]*\.[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}",
    ),
)
_PLAIN_WORDS = {
    *("test_", "live_", "secret_", "secret-", "console-", "key_", "key-", "local-", "production_", "sandbox_"),
    *("co_", "up_", "re_", "hb_", "pa-", "al-", "ak-", "as-"),
}
_EXACT = {
    *("AKIA", "ASIA", "ABIA", "ACCA", "A3-", "AGE-SECRET-KEY-1", "AGE-PLUGIN-", "xprv"),
    *("zprv", "yprv", "tprv", "nsec1"),
}
_SHORTEST = 16  # characters of a text that holds a credential of these formats
_LEAST_READ, _LONGEST_READ = 10, 512  # characters
_MORE = re.compile(r"[\w+/=.-]+")
# These begin only at the beginning of a run of letters, digits, dots and dashes.
_WHOLE = {"JSON Web Token", "Discord token", "Yandex token", "Sentry token", "Mapbox token", "Snyk token"}
_IN_BASE64 = ("UFJJVkFURSBLRV", "QUklWQVRFIEtFW", "BSSVZBVEUgS0VZ")  # "PRIVATE KEY", by its offset

# Credentials without a prefix: the kind, hints (one of them is always in the text), and the pattern. A group is the
# secret; the group ``before`` is its begin. A pattern begins with a literal, or with a set of characters, before it
# looks back, because such a search is fast.
_FRAMES = (
    ("Telegram token", ":AA", r"\d(?<![\dA-Za-z_-].)\d{7,9}:AA[\w-]{32,34}(?![\w-])|(?<=bot)\d{8,10}:AA[\w-]{32,34}"),
    ("Azure client secret", "Q~", r"Q~(?<=(?P<before>[\w~.-](?<![\w~.-].)[\w~.-]{2}\d)Q~)[\w~.-]{30,40}"),
    ("Azure key", "JQQJ9", r"JQQJ9(?<=(?P<before>[A-Za-z0-9](?<![A-Za-z0-9].)[A-Za-z0-9]{51})JQQJ9)[A-Za-z0-9]{27}"),
    (
        "Azure key",
        "+ASt +ASb +AEh +ARm +AMC AIoT ACDb AzSe AzFu AzCa APIM",
        r"[A-Za-z0-9+/](?<![A-Za-z0-9+/].)[A-Za-z0-9+/]{31,80}(?:\+A(?:St|Sb|Eh|Rm|MC)|A(?:IoT|CDb|PIM|z(?:Se|Fu|Ca))).{5}=+",
    ),
    (
        "Mailchimp or Mailgun key",
        "-",
        r"-(?<=(?P<before>[0-9a-f](?<![0-9A-Za-z_-].)[0-9a-f]{31})-)(?:us\d{1,2}|[0-9a-f]{8}-[0-9a-f]{8})(?![0-9A-Za-z-])",
    ),
    (
        "MaxMind key",
        "_mmk",
        r"_mmk(?<=(?P<before>[A-Za-z0-9](?<![\w-].)[A-Za-z0-9]{5}_[A-Za-z0-9]{29})_mmk)(?![\w-])",
    ),
    (
        "Terraform token",
        ".atlasv1.",
        r"\.atlasv1\.(?<=(?P<before>[A-Za-z0-9](?<![\w-].)[A-Za-z0-9]{13})\.atlasv1\.)[\w-]{40,}",
    ),
    ("Asana token", "1/ 2/", r"[12](?<![0-9A-Za-z/].)/\d{10,20}(?:/\d{10,20})?:[0-9a-f]{32}(?![0-9A-Za-z])"),
    ("Akamai token", "akab-", r"akab-[0-9a-z]{16}-[0-9a-z]{16}(?!\.)"),
    ("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_-]{20,})"),
    ("Discord webhook", "/api/webhooks/", r"/api/webhooks/\d{15,22}/([\w-]{40,})"),
    ("Teams webhook", "webhook.office.com webhookb2", r"webhook(?:\.office\.com|b2)/([\w@/-]{60,})"),
    ("Zapier webhook", "hooks.zapier.com", r"hooks\.zapier\.com/hooks/catch/(\d+/[a-z0-9]{6,})"),
    (
        "secret of one-time passwords",
        "otpauth",
        r"otpauth(?:-migration)?://[^\s\"'<>?]{0,200}\?[^\s\"'<>?]{0,200}?(?:secret|data)=([\w%+/=]{16,})",
    ),
    ("PuTTY key", "Private-Lines", r"Private-Lines: \d{1,4}\s+([A-Za-z0-9+/=\s]{40,})"),
    ("JSON Web Key", "kty", r"\"(?:d|p|q|dp|dq|qi|k)\\{0,3}\":\s{0,4}\\{0,3}\"([\w-]{20,})"),
    (
        "password in a .netrc file",
        "machine",
        r"machine\s{1,8}[^\s\"]{1,256}\s{1,8}login\s{1,8}[^\s\"]{1,256}\s{1,8}password\s{1,8}([^\s<]{4,256})",
    ),
)
_APART = r"(?<![+/_-])"  # or letters in Base64 would begin like a credential
_AFTER_ESCAPE = r"(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9A-Fa-f]{2})"
_BEGIN = r"(?<![A-Za-z0-9])"
_BEGIN_OR_ESCAPED = rf"(?:{_BEGIN}|{_AFTER_ESCAPE})"
_BEGIN_OF_RUN = rf"(?:(?<![\w.-])|{_AFTER_ESCAPE})"
_PEM = re.compile(r"-{4,5} ?BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_PEM_END = re.compile(r"-{4,5} ?END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_PEM_LINES = re.compile(
    r"(?:[A-Za-z0-9+/=]{16,}|\\{1,4}[nr]|\s|(?:Proc-Type|DEK-Info|Version|Comment|Hash): ?[^\n\\]{0,200})+"
)
_PEM_PARTS = re.compile(r"(?:\s|\\{1,4}[nr])+")
_PEM_PART = re.compile(r"(?=[A-Za-z+/=]*\d|[A-Z+/=]*[a-z]+[A-Z+/=]|[a-z+/=]*[A-Z]+[a-z+/=])[A-Za-z0-9+/=]{6,}")
_LONGEST_PEM = 65_536  # characters


def formats_in(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the credentials in a part of a text that are known by their format. They may overlap."""
    if end - begin < _SHORTEST:
        return
    has_escapes = text.find("\\", begin, end) >= 0 or text.find("%", begin, end) >= 0
    read = begin
    for match in _prefix(has_escapes=has_escapes).finditer(text, begin, end):
        if match.start() < read:  # a long credential was read to here, and what begins in it ends with it
            continue
        found = _rules(match.group()).match(text, match.start(), end)
        if found is not None:
            sort = _PREFIXES[int(str(found.lastgroup)[1:])][0]
            if _is_real(found.group(), match.group()):
                last = _end_of_token(text, found, end)
                read = max(read, last if last > found.end() else read)
                yield Span(found.start(), last, sort)
    hints, patterns = _frames()
    for number in {number for hint, number in hints if text.find(hint, begin, end) >= 0}:
        sort, pattern = patterns[number]
        for match in pattern.finditer(text, begin, end):
            first, last = _secret_of(match)
            if not is_example(text[first:last]):
                yield Span(first, last, sort)
    if text.find("PRIVATE KEY", begin, end) >= 0:
        yield from _private_keys(text, begin, end)


def _secret_of(match: re.Match[str]) -> tuple[int, int]:
    """Return the begin and the end of the secret in a frame."""
    if match.lastgroup == "before":
        return match.start("before"), match.end()
    return match.span(match.lastindex or 0)


def _is_real(text: str, prefix: str) -> bool:
    """Whether a text with the prefix of a credential also looks like one after it."""
    if prefix.startswith("LS0t") and not any(map(text.__contains__, _IN_BASE64)):
        return False
    rest = text[len(prefix) :]
    if prefix in _EXACT:
        return not is_example(rest)
    return is_real(rest) and (prefix not in _PLAIN_WORDS or is_random_word(rest))


def _end_of_token(text: str, found: re.Match[str], end: int) -> int:
    """Return the end of a credential, which may be longer than its rule reads."""
    if found.end() - found.start() < _LONGEST_READ:
        return found.end()
    more = _MORE.match(text, found.end(), end)
    return found.end() if more is None else more.end()


def _private_keys(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield private keys of PEM files. A key without an end counts if lines of it follow its first line."""
    for match in _PEM.finditer(text, begin, end):
        after = match.end()
        limit = min(end, after + _LONGEST_PEM)
        following = _PEM.search(text, after, limit)
        until = limit if following is None else following.start()
        between = text.find(BETWEEN, after, until)
        if between >= 0:
            limit = until = between
        last = _PEM_END.search(text, after, until)
        if last is not None:
            if any(map(_PEM_PART.fullmatch, _PEM_PARTS.split(text[after : last.start()]))):
                yield Span(match.start(), last.end(), "private key")
        else:
            lines = _PEM_LINES.match(text, after, limit)
            if lines is not None and any(map(is_machine_made, _PEM_PARTS.split(lines.group()))):
                yield Span(match.start(), lines.end(), "private key")


@cache
def _prefix(*, has_escapes: bool) -> re.Pattern[str]:
    """Return the pattern of all prefixes. It is compiled when the first text is read."""
    begin = _BEGIN_OR_ESCAPED if has_escapes else _BEGIN
    prefixes = {prefix for _, listed, _ in _PREFIXES for prefix in listed.split()}
    firsts = re.escape("".join(sorted({prefix[0] for prefix in prefixes})))
    return re.compile(rf"(?=[{firsts}]){begin}{_any_of(prefixes)}(?=[^\s\"'<>]{{{_LEAST_READ}}})")


@cache
def _rules(prefix: str) -> re.Pattern[str]:
    """Return the pattern of the rules whose prefixes begin with one that `_prefix` finds."""
    rules = []
    for number, (sort, prefixes, rest) in enumerate(_PREFIXES):
        own = [re.escape(each) for each in prefixes.split() if each.startswith(prefix)]
        if own:
            if sort in _WHOLE:
                rules.append(f"(?P<r{number}>{_BEGIN_OF_RUN}(?:{'|'.join(own)})(?:{rest}))")
            else:  # bound what the rule reads before it fails
                read = re.sub(r",\}", f",{_LONGEST_READ}}}", rest).replace("]*", f"]{{0,{_LONGEST_READ}}}")
                apart = _APART if prefix.isalnum() else ""
                rules.append(f"(?P<r{number}>{apart}(?:{'|'.join(own)})(?:{read}))")
    return re.compile("|".join(rules), re.ASCII)


@cache
def _frames() -> tuple[list[tuple[str, int]], list[tuple[str, re.Pattern[str]]]]:
    r"""Return the hints of the frames with the numbers of the frames, and the frames.

    If a frame looks back for the beginning of a word, an escape such as ``\n`` counts as one.
    """
    patterns = []
    for sort, _, pattern in _FRAMES:
        escaped = re.sub(r"\(\?<!\[[^()]*\]\.\)", lambda back: rf"(?:{back.group()}|(?<=\\[nrtbf].))", pattern)
        patterns.append((sort, re.compile(escaped, re.ASCII)))
    return [(hint, number) for number, (_, hints, _) in enumerate(_FRAMES) for hint in hints.split()], patterns


def _any_of(words: set[str]) -> str:
    """Return a pattern that matches the shortest of the words, and reads each character once."""
    if "" in words:
        return ""
    by_first: dict[str, set[str]] = {}
    for word in words:
        by_first.setdefault(word[0], set()).add(word[1:])
    branches = [re.escape(first) + _any_of(rest) for first, rest in sorted(by_first.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
